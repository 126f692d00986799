"""The PostgreSQL store: how it is opened, and what it knows of other servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.resources import files
from secrets import token_hex

import psycopg

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.domain.job import SECOND_US
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.failpoint import Failpoint, no_failpoint
from jobwire_server.kernel.telemetry import Log, LogEvent, SilentLog
from jobwire_server.store.base import Position, RecoveryBatch, Store
from jobwire_server.store.postgres.connection import (
    SESSION_WAS_CHANGED,
    Connection,
    away,
    behind_a_pooler,
    connect,
    migrate,
    sentence,
    unavailable,
)
from jobwire_server.store.postgres.lives import LifeIsOver, settle
from jobwire_server.store.postgres.neighbours import Neighbours, Told
from jobwire_server.store.postgres.patience import Patience
from jobwire_server.store.postgres.reader import PostgresReader
from jobwire_server.store.postgres.settings import PostgresSettings
from jobwire_server.store.postgres.transaction import WriterState
from jobwire_server.store.postgres.writer import Writer
from jobwire_server.store.queries import load
from jobwire_server.store.verbs.store import DrivenStore

__all__ = ["PostgresSettings", "PostgresStore"]


class PostgresStore(DrivenStore[PostgresReader]):
    """A store in the schema `jobwire` of one database (`url`), shared with any number of other servers."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        chance: Callable[[], float],
        settings: PostgresSettings | None = None,
        failpoint: Failpoint = no_failpoint,
        log: Log | None = None,
    ) -> None:
        self._settings = settings or PostgresSettings()
        super().__init__(settings=self._settings, failpoint=failpoint, log=log or SilentLog())
        self._url = url
        self._clock = clock
        self._chance = chance
        self._queries = load(files(__package__) / "queries")
        self._epoch = ""
        self._loop: asyncio.AbstractEventLoop
        self._neighbours: Neighbours | None = None
        self._patience = Patience()
        self._reach_listeners: list[Callable[[bool], None]] = []
        self._time_listeners: list[Callable[[int], None]] = []

    async def open(self) -> Position:
        """See `Store.open`."""
        self._loop = asyncio.get_running_loop()
        connection = await self._loop.run_in_executor(None, self._open_database)
        patience = self._patience = Patience()
        patience.start()
        server = token_hex(8)
        neighbours = Neighbours(
            server=server,
            connect=self._connect,
            queries=self._queries,
            settings=self._settings,
            chance=self._chance,
            log=self._log,
            patience=patience,
            told=Told(self._notify, self._tell_of_reach, self._notify_of_progress, self._tell_the_time),
        )
        state = WriterState(
            settings=self._settings, chance=self._chance, queries=self._queries, log=self._log, server=server
        )
        writer = Writer(
            connection,
            state,
            reconnect=self._reconnect,
            failpoint=self._failpoint,
            on_notice=self._notify,
            neighbours=neighbours,
            patience=patience,
        )
        self._started(writer)
        self._neighbours = neighbours
        position = await self.position()
        neighbours.start(position.revision)
        return position

    async def close(self) -> None:
        """See `Store.close`."""
        await super().close()
        neighbours, self._neighbours = self._neighbours, None
        if neighbours is not None:
            await neighbours.stop()
        await asyncio.get_running_loop().run_in_executor(None, self._patience.stop)

    def on_reach(self, listener: Callable[[bool], None]) -> None:
        """Call `listener` on the event loop when the database cannot be reached any more (False), or again (True)."""
        self._reach_listeners.append(listener)

    def on_time(self, listener: Callable[[int], None]) -> None:
        """Call `listener`, in any thread, with what the database's clock says (in microseconds): before `open` returns,
        and a few times a second from then on."""
        self._time_listeners.append(listener)

    def _tell_the_time(self, now_us: int) -> None:
        for listener in self._time_listeners:
            listener(now_us)

    def _tell_of_reach(self, reached: bool) -> None:
        for listener in self._reach_listeners:
            listener(reached)

    async def recover(self, *, instance_id: str, limit: int) -> RecoveryBatch:
        """See `Store.recover`. Other servers that are there are not dead: their in-process leases stay."""
        if self._neighbours is None:
            raise StoreUnavailable("The store is not open.")
        await asyncio.get_running_loop().run_in_executor(None, self._neighbours.appear, instance_id)
        return await super().recover(instance_id=instance_id, limit=limit)

    def _open_database(self) -> Connection:
        connection = connect(self._url, self._settings)
        try:
            migrate(connection, self._clock, self._failpoint)
            self._epoch, life = settle(connection)
            if life is not None:
                self._log.warning(LogEvent.STORE_RESTORED, **life._asdict())
            for (now_us,) in connection.execute("SELECT jobwire.now_us()"):
                self._tell_the_time(now_us)
        except psycopg.Error as error:
            connection.close()
            raise unavailable(error, "The schema jobwire cannot be brought up to date") from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> Connection:
        """Connect again. Ends this server when the store began a new life meanwhile: what it knows is of the old."""
        connection = connect(self._url, self._settings, self._patience)
        try:
            with self._patience.of(connection, self._settings.silence_us / SECOND_US):
                epoch, _ = settle(connection)
        except psycopg.Error as error:
            connection.close()
            raise unavailable(error, "PostgreSQL does not answer") from error
        except BaseException:
            connection.close()
            raise
        if epoch != self._epoch:
            connection.close()
            over = LifeIsOver(
                "The database was restored, or another took its place, and the store has a new epoch: "
                "start this server again."
            )
            self._loop.call_soon_threadsafe(self._die, over)
            raise over
        return connection

    def _reconnect(self) -> Connection:
        """Connect for a caller, who learns that it failed; why is for the log (`Neighbours` tries the same)."""
        try:
            return self._connect()
        except StoreUnavailable as error:
            raise away() from error

    def _new_reader(self) -> PostgresReader:
        return PostgresReader(self._reconnect(), self._queries, self._settings, self._patience)

    def _reading_failed(self, error: Exception) -> StoreUnavailable | None:
        if not isinstance(error, psycopg.Error):
            return None
        if isinstance(error, SESSION_WAS_CHANGED):
            return behind_a_pooler()
        self._log.warning(LogEvent.STORE_LOST, error=sentence(error))
        return away()


_: type[Store] = PostgresStore
