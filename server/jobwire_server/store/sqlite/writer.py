"""The writing thread of SQLite: one transaction for each group, a reserve for a full disk, and a bound for the WAL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import apsw

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.kernel.failpoint import Failpoint
from jobwire_server.kernel.telemetry import LogEvent
from jobwire_server.store.base import CommitNotice
from jobwire_server.store.sqlite.reserve import Reserve
from jobwire_server.store.sqlite.settings import SqliteSettings
from jobwire_server.store.sqlite.transaction import WriterState
from jobwire_server.store.verbs.intent import Intent, Rank, by_verb, store_full
from jobwire_server.store.verbs.writer import GroupWriter

_GROUPS_PER_WAL_LOOK: Final = 256
_WAL_WAIT_MS: Final = 100


class Writer(GroupWriter):
    """Owns the writing connection."""

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
        super().__init__(settings=settings, on_notice=on_notice)
        self._connection = connection
        self._state = state
        self._settings = settings
        self._failpoint = failpoint
        self._reserve = reserve
        self._on_fatal = on_fatal
        self._groups = 0
        self._wal = Path(connection.filename + "-wal")
        self.start()

    def _close(self) -> None:
        self._connection.close()

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
            for apply, intents in by_verb(group):
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
        self._loop.call_soon_threadsafe(self._on_fatal, error)  # first: whoever is refused may ask why
        self._refuse(group, StoreUnavailable(f"The store failed: {error}."))
