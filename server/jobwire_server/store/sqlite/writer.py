"""The one thread that writes: takes all intents that queued up while the last commit was syncing, applies them as one
transaction, and answers each caller after the commit (group commit, design decision 5)."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import apsw

from jobwire_server.domain.errors import StoreFull, StoreUnavailable, TooManyRequests
from jobwire_server.kernel.failpoint import Failpoint
from jobwire_server.kernel.telemetry import LogEvent
from jobwire_server.store.base import CommitNotice
from jobwire_server.store.sqlite.reserve import Reserve
from jobwire_server.store.sqlite.settings import SqliteSettings
from jobwire_server.store.sqlite.transaction import Transaction, WriterState

_STOP: Final = None
_ROWS_WORTH_A_GROUP: Final = 4_000
_ROWS_WORTH_NO_WAIT: Final = 128
"""So many rows cost more than the commit that they would share with others: the thread gets them at the end of the
turn, also while it is busy, so that it never waits for the loop."""
_MOST_QUIET_TURNS: Final = 32
_GROUPS_PER_WAL_LOOK: Final = 256
_WAL_WAIT_MS: Final = 100


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
        apply: Callable[[Transaction, Sequence[Intent]], None],
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


class Writer:
    """Owns the writing connection and its thread; `submit` and `stop` are called on the event loop."""

    def __init__(
        self,
        connection: apsw.Connection,
        state: WriterState,
        *,
        settings: SqliteSettings,
        failpoint: Failpoint,
        reserve: Reserve,
        on_notice: Callable[[CommitNotice], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._connection = connection
        self._state = state
        self._settings = settings
        self._failpoint = failpoint
        self._reserve = reserve
        self._on_notice = on_notice
        self._on_fatal = on_fatal
        self._inbox: queue.SimpleQueue[list[Intent] | None] = queue.SimpleQueue()
        self._outbox: list[Intent] = []
        self._outbox_rows = 0
        self._in_flight = 0
        self._last_handed_over = 1
        self._waiting: list[Intent] = []
        self._queued_bytes = 0
        self._broken: BaseException | None = None
        self._groups = 0
        self._wal = Path(connection.filename + "-wal")
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="jobwire-writer", daemon=True)
        self._thread.start()

    # --- on the event loop ----------------------------------------------------------------------------------------

    def submit(self, intent: Intent) -> None:
        """Queue an intent; its future is resolved after its commit. Raises when the queue is over its bound."""
        if self._broken is not None or self._stopping:
            raise StoreUnavailable(f"The store is closed: {self._broken or 'the server is stopping'}.")
        if self._queued_bytes + intent.bytes > self._settings.max_queued_bytes:
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
        self._connection.close()

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
            if count and (rows > self._settings.max_group_rows or size > self._settings.max_group_bytes):
                self._waiting = waiting[count:]
                return waiting[:count]
        self._waiting = []
        return waiting

    def _write(self, group: list[Intent]) -> None:
        if self._broken is not None:
            self._refuse(group, StoreUnavailable(f"The store failed: {self._broken}."))
            return
        try:
            if self._state.full and self._reserve.take_back():
                self._state.full = False
            notice = self._commit(group)
        except Exception as error:  # noqa: BLE001 - nothing is lost: each kind has its answer
            self._take_failure(group, error)
            return
        self._answer(group, notice)
        self._groups += 1
        if self._groups % _GROUPS_PER_WAL_LOOK == 0:
            self._bound_wal()

    def _take_failure(self, group: list[Intent], error: Exception) -> None:
        """Answer a group that cannot be answered with success."""
        match error:
            case StoreUnavailable():
                self._refuse(group, error)  # it has committed: applying it again would do it twice
            case apsw.FullError():
                self._write_on_full_disk(group)
            case apsw.IOError() | apsw.CorruptError() | apsw.NotADBError():
                self._fail(group, error)
            case apsw.BusyError() | apsw.LockedError():
                busy = "The store is busy: another program holds its file."
                self._refuse(group, StoreUnavailable(busy, retry_after_us=100_000))
            case _ if len(group) > 1:
                self._write_one_by_one(group)  # it belongs to one intent: the others shall not suffer
            case _:
                self._refuse(group, error)

    def _bound_wal(self) -> None:
        """Keep the WAL within its limit. Its loss is an I/O error like any other: the thread must not die of it, since
        every later caller would wait for ever."""
        try:
            self._truncate_wal()
        except (OSError, apsw.Error) as error:
            self._fail((), error)

    def _truncate_wal(self) -> None:
        """Truncate a WAL that a long reader let grow; gives up quickly when the reader is still there."""
        if self._wal.stat().st_size <= self._settings.wal_limit_bytes:
            return
        self._connection.set_busy_timeout(_WAL_WAIT_MS)
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            self._state.log.warning(LogEvent.WAL_LARGE, bytes=self._wal.stat().st_size)
        finally:
            self._connection.set_busy_timeout(self._settings.busy_timeout_us // 1000)

    def _commit(self, group: Sequence[Intent]) -> CommitNotice | None:
        """One transaction for the group; nothing is answered before it is durable."""
        transaction = self._state.begin(self._connection)
        try:
            self._failpoint("group.after_begin")
            for apply, intents in _by_verb(group):
                apply(transaction, intents)
            self._failpoint("group.before_commit")
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        notice = self._state.committed(transaction)
        try:
            self._failpoint("group.after_commit")
            self._failpoint("submit.before_reply")
        except Exception as error:
            raise StoreUnavailable(f"The answer was lost after the commit: {error}.") from error
        return notice

    def _write_one_by_one(self, group: Sequence[Intent]) -> None:
        for intent in group:
            intent.answer = None
            self._write([intent])

    def _write_on_full_disk(self, group: list[Intent]) -> None:
        """New work is refused; what lets running jobs finish may use the reserve."""
        released = self._reserve.release()
        self._state.full = True
        entering = [intent for intent in group if intent.rank == Rank.SUBMIT]
        others = [intent for intent in group if intent.rank != Rank.SUBMIT]
        self._refuse(entering, store_full())
        if others and (entering or released):
            self._write(others)
        elif len(others) > 1:
            self._write_one_by_one(others)
        else:
            self._refuse(others, StoreUnavailable("The disk is full: free space.", retry_after_us=1_000_000))

    def _fail(self, group: Sequence[Intent], error: BaseException) -> None:
        """Fail-stop: after an I/O error nobody can tell what the disk holds, so no success is acknowledged any more."""
        self._broken = error
        self._refuse(group, StoreUnavailable(f"The store failed: {error}."))
        self._loop.call_soon_threadsafe(self._on_fatal, error)

    def _refuse(self, group: Sequence[Intent], error: BaseException) -> None:
        for intent in group:
            intent.answer = error
        if group:
            self._answer(group, None)

    def _answer(self, group: Sequence[Intent], notice: CommitNotice | None) -> None:
        self._loop.call_soon_threadsafe(self._deliver, group, notice)


def store_full() -> StoreFull:
    """The refusal of new work while the disk is full."""
    return StoreFull("The disk is full: free space, or try later.", retry_after_us=5_000_000)


def _by_verb(group: Sequence[Intent]) -> list[tuple[Callable[[Transaction, Sequence[Intent]], None], list[Intent]]]:
    verbs: dict[Callable[[Transaction, Sequence[Intent]], None], list[Intent]] = {}
    for intent in sorted(group, key=lambda intent: _APPLIED[intent.rank]):
        verbs.setdefault(intent.apply, []).append(intent)
    return list(verbs.items())
