"""The bug: a report ends whatever run the job is in, not the run that it speaks of. (The worker is deaf besides.)"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobwire_server.store.base import Report
from jobwire_server.store.sqlite.transaction import SqliteTransaction
from jobwire_server.store.verbs import reporting
from tests.torture.plants import deaf_worker


def plant() -> None:
    """Put the bug in."""
    deaf_worker.plant()
    report = reporting._report

    def report_unfenced(transaction: SqliteTransaction, reports: Sequence[Report]) -> Any:
        rows: list[Any] = transaction.sql("SELECT key, fence FROM job WHERE state = 3").fetchall()
        current: dict[int, int] = dict(rows)
        return report(transaction, [one._replace(fence=current.get(one.key, one.fence)) for one in reports])

    reporting._report = report_unfenced
