"""The SQLite store: how its file is opened, locked and closed."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import apsw

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.failpoint import Failpoint, no_failpoint
from jobwire_server.kernel.telemetry import Log, LogEvent, SilentLog
from jobwire_server.store.base import Position, Store
from jobwire_server.store.queries import load
from jobwire_server.store.sqlite.connection import (
    FileLock,
    StoreClock,
    lock_path,
    migrate,
    new_epoch,
    open_reader,
    open_writer,
    refuse_unsafe_places,
)
from jobwire_server.store.sqlite.lives import begin_life, read_meta
from jobwire_server.store.sqlite.reader import SqliteReader
from jobwire_server.store.sqlite.reserve import Reserve
from jobwire_server.store.sqlite.settings import SqliteSettings
from jobwire_server.store.sqlite.transaction import WriterState
from jobwire_server.store.sqlite.writer import Writer
from jobwire_server.store.verbs.store import DrivenStore

__all__ = ["SqliteSettings", "SqliteStore"]


class SqliteStore(DrivenStore[SqliteReader]):
    """A store in one SQLite file (`path`), or in a private temporary file that is not synced (`path` None)."""

    def __init__(
        self,
        path: Path | None,
        *,
        clock: Clock,
        chance: Callable[[], float],
        settings: SqliteSettings | None = None,
        failpoint: Failpoint = no_failpoint,
        log: Log | None = None,
    ) -> None:
        self._settings = settings or SqliteSettings()
        super().__init__(settings=self._settings, failpoint=failpoint, log=log or SilentLog())
        self._path = path
        self._clock = clock
        self._chance = chance
        self._queries = load(files(__package__) / "queries")
        self._folder: Path | None = None
        self._lock: FileLock | None = None
        self._state: WriterState | None = None

    async def open(self) -> Position:
        """See `Store.open`."""
        connection = await asyncio.get_running_loop().run_in_executor(None, self._open_file)
        state = self._state
        if state is None:
            raise AssertionError("the file was opened without a state")
        writer = Writer(
            connection,
            state,
            settings=self._settings,
            failpoint=self._failpoint,
            reserve=self._reserve(),
            on_notice=self._notify,
            on_fatal=self._die,
        )
        self._started(writer)
        return Position(state.epoch, state.revision, state.compacted)

    async def close(self) -> None:
        """See `Store.close`."""
        await super().close()
        if self._lock is not None:
            self._lock.release()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _reserve(self) -> Reserve:
        path = None if self._path is None else self._path.with_name(self._path.name + ".reserve")
        return Reserve(path, self._settings.reserve_bytes)

    def _open_file(self) -> apsw.Connection:
        durable = self._path is not None
        if self._path is None:
            self._folder = Path(tempfile.mkdtemp(prefix="jobwire-"))
            path = self._folder / "memory.db"
        else:
            path = self._path
        self._file = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            refuse_unsafe_places(path)
            self._lock = FileLock(lock_path(path))
            self._lock.acquire()
            connection = open_writer(path, self._settings, durable=durable)
            try:
                migrate(connection, self._clock, self._failpoint)
                self._state = self._read_state(connection)
            except BaseException:
                connection.close()
                raise
        except (apsw.Error, OSError) as error:
            if self._lock is not None:
                self._lock.release()
            raise StoreUnavailable(f"The store {path} cannot be opened: {error}.") from error
        except StoreUnavailable:
            if self._lock is not None:
                self._lock.release()
            raise
        if durable and not self._reserve().acquire():
            self._state.full = True
        return connection

    def _read_state(self, connection: apsw.Connection) -> WriterState:
        newest = connection.execute("SELECT revision, time_us FROM event ORDER BY revision DESC LIMIT 1").fetchone()
        clock = StoreClock(self._clock, newest[1] if newest else 0)
        life = begin_life(connection, clock, new_epoch())
        if life is not None:
            self._log.warning(LogEvent.STORE_RESTORED, **life._asdict())
        meta = read_meta(connection)
        if "moving" in meta:
            raise StoreUnavailable(
                f"{self._file} is half of a store that is being carried here: run the same jobwire db export again, "
                "which goes on where it stopped."
            )
        depth = connection.execute("SELECT count(*) FROM job INDEXED BY job_state WHERE state NOT IN (5, 6, 7, 8)")
        return WriterState(
            # The floor: a new life gives out no revision, and so no key, that the old one may have given out.
            position=Position(
                meta["epoch"],
                max(newest[0] if newest else 0, meta["compacted"], meta["fence_floor"]),
                meta["compacted"],
            ),
            depth=depth.fetchone()[0],  # type: ignore[index]
            clock=clock,
            chance=self._chance,
            settings=self._settings,
            queries=self._queries,
            log=self._log,
        )

    def _new_reader(self) -> SqliteReader:
        return SqliteReader(open_reader(self._file, self._settings), self._queries, self._now_us)

    def _reading_failed(self, error: Exception) -> StoreUnavailable | None:
        if isinstance(error, apsw.BusyError | apsw.IOError | apsw.CorruptError):
            return StoreUnavailable(f"The store cannot be read: {error}.")
        return None

    def _now_us(self) -> int:
        if self._state is None:
            raise StoreUnavailable("The store is not open.")
        return self._state.clock.now_us()


_: type[Store] = SqliteStore
