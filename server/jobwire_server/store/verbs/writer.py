"""The one thread that writes: takes all intents that queued up while the last commit was syncing, applies them as
one transaction, and answers each caller after the commit (group commit, design decision 5). A driver commits."""

from __future__ import annotations

import asyncio
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final

from jobwire_server.domain.errors import StoreUnavailable, TooManyRequests
from jobwire_server.store.base import CommitNotice
from jobwire_server.store.settings import StoreSettings
from jobwire_server.store.verbs.intent import Intent

_STOP: Final = None
_ROWS_WORTH_A_GROUP: Final = 4_000
_ROWS_WORTH_NO_WAIT: Final = 128
"""So many rows cost more than the commit that they would share with others: the thread gets them at the end of the
turn, also while it is busy, so that it never waits for the loop."""
_MOST_QUIET_TURNS: Final = 32


class GroupWriter(ABC):
    """Owns the writing thread; `submit` and `stop` are called on the event loop."""

    def __init__(self, *, settings: StoreSettings, on_notice: Callable[[CommitNotice], None]) -> None:
        self._bounds = settings
        self._on_notice = on_notice
        self._inbox: queue.SimpleQueue[list[Intent] | None] = queue.SimpleQueue()
        self._outbox: list[Intent] = []
        self._outbox_rows = 0
        self._in_flight = 0
        self._last_handed_over = 1
        self._waiting: list[Intent] = []
        self._queued_bytes = 0
        self._broken: BaseException | None = None
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="jobwire-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @abstractmethod
    def _write(self, group: list[Intent]) -> None:
        """Commit a group and answer it, or refuse it; never raises. Called in the thread."""

    @abstractmethod
    def _close(self) -> None:
        """Close what the thread worked with. Called in the thread, at its end."""

    # --- on the event loop ----------------------------------------------------------------------------------------

    def submit(self, intent: Intent) -> None:
        """Queue an intent; its future is resolved after its commit. Raises when the queue is over its bound."""
        if self._broken is not None or self._stopping:
            raise StoreUnavailable(f"The store is closed: {self._broken or 'the server is stopping'}.")
        if self._queued_bytes + intent.bytes > self._bounds.max_queued_bytes:
            raise TooManyRequests("Too much is queued in front of the store: slow down.", retry_after_us=200_000)
        self._queued_bytes += intent.bytes
        was_small = self._outbox_rows < _ROWS_WORTH_NO_WAIT
        self._outbox_rows += intent.rows
        self._outbox.append(intent)
        if self._outbox_rows >= _ROWS_WORTH_A_GROUP:
            self._hand_over()
        elif was_small and self._outbox_rows >= _ROWS_WORTH_NO_WAIT:
            self._loop.call_soon(self._hand_over)
        elif len(self._outbox) == 1 and self._in_flight == 0:
            self._loop.call_soon(self._hand_over_when_quiet, 0, 0)

    def _hand_over_when_quiet(self, seen: int, quiet_turns: int) -> None:
        """Hand over when some turns of the loop in a row brought nothing new: no timer, and no wait when idle.

        The larger the last group, the more turns: with many callers in flight the next one is a turn or two away, and
        a commit shared by thirty costs each of them a third of one shared by seven (docs/adr/0003). A caller alone
        waits for one turn.
        """
        gathered = len(self._outbox)
        if not gathered or self._in_flight:
            return
        quiet_turns = quiet_turns + 1 if gathered == seen else 0
        if quiet_turns >= min(self._last_handed_over, _MOST_QUIET_TURNS):
            self._hand_over()
        else:
            self._loop.call_soon(self._hand_over_when_quiet, gathered, quiet_turns)

    def _hand_over(self) -> None:
        """Give the thread what has gathered.

        It happens at the end of a turn of the loop, and again when the last group has been answered, not intent by
        intent: so what arrives while a commit is syncing shares the next one, and the two threads hand the GIL to
        each other once a group (docs/adr/0003). Only what is large by itself does not wait for that answer.
        """
        if self._outbox:
            self._in_flight += len(self._outbox)
            self._last_handed_over = len(self._outbox)
            self._inbox.put(self._outbox)
            self._outbox = []
            self._outbox_rows = 0

    async def stop(self) -> None:
        """Finish what is queued and end the thread."""
        if not self._stopping:
            self._stopping = True
            self._hand_over()
            self._inbox.put(_STOP)
        await self._loop.run_in_executor(None, self._thread.join)

    def _deliver(self, group: Sequence[Intent], notice: CommitNotice | None) -> None:
        self._in_flight -= len(group)
        if self._in_flight == 0 and self._outbox:
            self._loop.call_soon(self._hand_over_when_quiet, 0, 0)
        for intent in group:
            self._queued_bytes -= intent.bytes
            if intent.future.done():
                continue  # the caller went away; what it asked for is done all the same
            if isinstance(intent.answer, BaseException):
                intent.future.set_exception(intent.answer)
            else:
                intent.future.set_result(intent.answer)
        if notice is not None:
            self._on_notice(notice)

    # --- in the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        running = True
        while running or self._waiting:
            if running:
                running = self._collect()
            group = self._next_group()
            if group:
                self._write(group)
        self._close()

    def _collect(self) -> bool:
        """Take everything that has queued up; wait for one only when nothing is left over. False = stop."""
        inbox = self._inbox
        if not self._waiting:
            first = inbox.get()
            if first is None:
                return False
            self._waiting += first
        while True:
            try:
                more = inbox.get_nowait()
            except queue.Empty:
                return True
            if more is None:
                return False
            self._waiting += more

    def _next_group(self) -> list[Intent]:
        """As many waiting intents as one transaction may hold, by rank, then in order of arrival."""
        waiting = self._waiting
        waiting.sort(key=lambda intent: intent.rank)
        rows = size = 0
        for count, intent in enumerate(waiting):
            rows += intent.rows
            size += intent.bytes
            if count and (rows > self._bounds.max_group_rows or size > self._bounds.max_group_bytes):
                self._waiting = waiting[count:]
                return waiting[:count]
        self._waiting = []
        return waiting

    def _write_one_by_one(self, group: Sequence[Intent]) -> None:
        for intent in group:
            intent.answer = None
            self._write([intent])

    def _refuse(self, group: Sequence[Intent], error: BaseException) -> None:
        for intent in group:
            intent.answer = error
        if group:
            self._answer(group, None)

    def _answer(self, group: Sequence[Intent], notice: CommitNotice | None) -> None:
        self._loop.call_soon_threadsafe(self._deliver, group, notice)
