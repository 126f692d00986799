"""The PostgreSQL store under test, in a database of its own whose clock the test moves."""

from __future__ import annotations

from typing import Any

import psycopg

from jobwire_server.kernel.telemetry import LogFormat, LogLevel, make_log
from jobwire_server.store.audit import Log
from jobwire_server.store.postgres.store import PostgresSettings, PostgresStore
from jobwire_server.store.settings import StoreSettings
from jobwire_server.store.verbs.store import DrivenStore
from tests.helpers import fsck
from tests.helpers.clock import START_US, ManualClock
from tests.helpers.postgres import PostgresServer
from tests.helpers.stores import StoreRig

_NO_PART_OF_THE_JOBS = ("server", "progress")


class DatabaseClock(ManualClock):
    """Moves the clock of the database with its own."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        super().__init__()
        self.connection = connection
        self._tell()

    def advance(self, seconds: float) -> None:
        """See `ManualClock.advance`."""
        super().advance(seconds)
        self._tell()

    @property
    def time_us(self) -> int:
        """The time of the database: without the jumps of `jump_wall`, which are those of the server's own clock."""
        return START_US + self._elapsed_us

    def _tell(self) -> None:
        self.connection.execute("UPDATE public.test_clock SET now_us = %s", (self.time_us,))


class PostgresRig(StoreRig):
    """A `StoreRig` on PostgreSQL."""

    def __init__(self, server: PostgresServer, **settings: Any) -> None:
        super().__init__(None, **settings)
        self.server = server
        self.altered = False
        """Set where the schema was changed: no other test gets the database."""
        self.database = server.new_database()
        self.url = server.url(self.database)
        self.connection: psycopg.Connection[Any] = self._connected()
        self.clock: DatabaseClock = DatabaseClock(self.connection)

    def _connected(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url, autocommit=True, options="-c search_path=jobwire")

    def reconnect(self) -> None:
        """Connect again after the database has died; the clock stands where it stood."""
        self.connection.close()
        self.connection = self.clock.connection = self._connected()

    def _made_settings(self, settings: dict[str, Any]) -> StoreSettings:
        # Nobody counts as present, so that a dead incarnation is dead at once, as it is with a file.
        return PostgresSettings(**{"presence_us": 0, **settings})

    def subject(self) -> DrivenStore[Any]:
        """See `StoreRig.subject`."""
        assert isinstance(self.settings, PostgresSettings)
        return PostgresStore(
            self.url,
            clock=self.clock,
            chance=self.chance,
            settings=self.settings,
            failpoint=self.failpoint,
            log=make_log(LogFormat.JSON, LogLevel.DEBUG, self._log),
        )

    async def crash(self) -> None:
        """Cut the sessions of the store, as a kill of its server does, and start another."""
        assert self._store is not None
        abandoned = self._store
        self.cut()
        await self.open()
        await abandoned.close()

    def time_after_restart(self, newest_us: int) -> int:
        """See `StoreRig.time_after_restart`."""
        return max(self.clock.time_us, newest_us)

    def cut(self) -> None:
        """End all sessions of the database but our own, on the spot."""
        self.connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    def dispose(self) -> None:
        """Give the database back empty; remove it when its schema was changed, or the test has failed in the middle."""
        as_it_was = self._store is None and not self.altered
        if as_it_was:
            for (table,) in self.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'jobwire'"):
                if table != "migration":
                    self.connection.execute(f"DELETE FROM {table}")
        self.connection.close()
        if as_it_was:
            self.server.give_back(self.database)
        else:
            self.server.drop(self.database)

    def check(self) -> None:
        """See `StoreRig.check`."""
        [log] = self.sql("SELECT compacted, fence_floor FROM meta")
        fsck.check_rows(self.sql, Log(*log))
        columns = "key, tenant, id, queue, type, batch_id"
        jobs, identities = (self.sql(f"SELECT {columns} FROM {table} ORDER BY key") for table in ("job", "identity"))
        assert identities == jobs, "what jobs are looked up by differs from the jobs"

    def sql(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """See `StoreRig.sql`."""
        return self.connection.execute(statement.replace("?", "%s"), values or None).fetchall()

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table that says something of jobs."""
        tables = self.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'jobwire' ORDER BY 1")
        names = [name for (name,) in tables if name not in _NO_PART_OF_THE_JOBS]
        return {name: self.sql(f"SELECT * FROM {name} ORDER BY 1, 2") for name in names}

    def tamper(self, statement: str) -> None:
        """See `StoreRig.tamper`."""
        self.altered = True
        self.connection.execute(statement)

    def forbid(self, condition: str) -> None:
        """See `StoreRig.forbid`."""
        self.tamper(
            "CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'forbidden'; END $$"
        )
        self.tamper(
            f"CREATE TRIGGER forbidden BEFORE UPDATE ON job FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION forbid()"
        )
