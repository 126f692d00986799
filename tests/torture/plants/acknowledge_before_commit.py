"""The bug: callers are answered when their change is written, not when it is committed.

The time between the two is that of a slow disk, so that the answers are on the wire before a kill in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from jobwire_server.store.sqlite.writer import Writer
from jobwire_server.store.verbs.intent import Intent, Rank

SLOW_DISK_SECONDS = 0.02


def plant(ranks: Collection[Rank] = tuple(Rank), slow_disk_seconds: float = SLOW_DISK_SECONDS) -> None:
    """Put the bug in, for callers of these ranks."""
    commit: Callable[..., Any] = Writer._commit

    def commit_late(self: Writer, group: Sequence[Intent]) -> Any:
        failpoint = self._failpoint

        def answered_already(name: str) -> None:
            hasty = [intent for intent in group if intent.rank in ranks]
            if name == "group.before_commit" and hasty:
                self._loop.call_soon_threadsafe(_answer, hasty)
                time.sleep(slow_disk_seconds)
            failpoint(name)

        self._failpoint = answered_already
        try:
            return commit(self, group)
        finally:
            self._failpoint = failpoint

    Writer._commit = commit_late  # type: ignore[method-assign]


def _answer(group: Sequence[Intent]) -> None:
    for intent in group:
        if not intent.future.done() and not isinstance(intent.answer, BaseException):
            intent.future.set_result(intent.answer)
