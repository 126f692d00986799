"""The bug: the sweep picks leases that ran out, and takes their jobs back a turn later, whatever happened meanwhile."""

from __future__ import annotations

import json
from typing import Any

from jobwire_server.domain.job import State
from jobwire_server.store.base import Sweep
from jobwire_server.store.verbs import control, moves, store, sweeps
from jobwire_server.store.verbs.transaction import Transaction


def plant() -> None:
    """Put the bug in."""
    picked: list[int] = []

    def take_back_by_id(transaction: Transaction, wish: Any) -> Sweep:
        running = [each.key for each in moves.read_facts(transaction, picked) if each.state is State.PROCESSING]
        picked[:] = json.loads(transaction.one("expired_leases", now=transaction.now_us, limit=wish.limit))
        applied = sweeps._apply_or_fail(transaction, sweeps._lost(transaction, running, at_startup=False), set())
        return Sweep(len(applied), more=False)

    store._EXPIRE_LEASES = control.each(take_back_by_id)
