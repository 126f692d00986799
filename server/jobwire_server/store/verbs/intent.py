"""What one caller wants written, as it waits for the transaction that it will share with others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, Final

from jobwire_server.domain.errors import StoreFull
from jobwire_server.store.verbs.transaction import Transaction


class Rank(IntEnum):
    """Order in which waiting intents get their place in a group."""

    OUTCOME = 0
    LEASE = 1
    SUBMIT = 2
    SWEEP = 3


_APPLIED: Final = {Rank.OUTCOME: 0, Rank.SUBMIT: 1, Rank.LEASE: 2, Rank.SWEEP: 3}
"""Order inside a transaction. Leases come after the submits that share it, so that a job may be stored and leased by
one commit; when a group is cut at its bound, it is the submits that wait all the same."""


class Intent:
    """What one caller wants written, and where its answer goes."""

    __slots__ = ("answer", "apply", "argument", "bytes", "future", "rank", "rows")

    def __init__(
        self,
        rank: Rank,
        apply: Verb,
        argument: Any,
        future: asyncio.Future[Any],
        *,
        rows: int = 1,
        size: int = 0,
    ) -> None:
        self.rank = rank
        self.apply = apply
        """Applies all intents of a group that share this function; sets each one's `answer`."""
        self.argument = argument
        self.future = future
        self.rows = rows
        self.bytes = size
        self.answer: Any = None
        """The result, or an exception to raise: set inside the transaction, handed over after the commit."""


Verb = Callable[[Transaction, Sequence[Intent]], None]


def by_verb(group: Sequence[Intent]) -> list[tuple[Verb, list[Intent]]]:
    """The intents of a group as they are applied: those of one verb, which are of one rank, together."""
    verbs: dict[Verb, list[Intent]] = {}
    for intent in group:
        verbs.setdefault(intent.apply, []).append(intent)
    return sorted(verbs.items(), key=lambda verb: _APPLIED[verb[1][0].rank])


def store_full() -> StoreFull:
    """The refusal of new work while the disk is full."""
    return StoreFull("The disk is full: free space, or try later.", retry_after_us=5_000_000)
