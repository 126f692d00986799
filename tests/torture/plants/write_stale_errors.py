"""The bug: a failure that comes too late is refused, but its error text is written all the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobwire_server.domain.outcome import Failed
from jobwire_server.store.base import Report, ReportCode
from jobwire_server.store.rows import encode_error
from jobwire_server.store.sqlite.transaction import SqliteTransaction
from jobwire_server.store.verbs import reporting


def plant() -> None:
    """Put the bug in."""
    report = reporting._report

    def report_and_write(transaction: SqliteTransaction, reports: Sequence[Report]) -> Any:
        answers = report(transaction, reports)
        for one, answer in zip(reports, answers, strict=True):
            if answer.code is ReportCode.LEASE_LOST and isinstance(one.outcome, Failed):
                text = encode_error(one.outcome.error)
                transaction.sql("UPDATE job SET last_error = ? WHERE key = ?", (text, one.key))
        return answers

    reporting._report = report_and_write
