"""Connecting: where to, settings of the database that a promise rests on, migrations."""

from __future__ import annotations

import secrets
from contextlib import nullcontext
from importlib.resources import files
from typing import Any, Final

import psycopg

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.domain.job import SECOND_US
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.failpoint import Failpoint
from jobwire_server.store.migrations import plan, shipped
from jobwire_server.store.postgres.patience import Patience
from jobwire_server.store.postgres.settings import PostgresSettings

Connection = psycopg.Connection[tuple[Any, ...]]

OLDEST_VERSION: Final = 140_000
_USES_BEFORE_A_PLAN_IS_KEPT: Final = 2
_SETTINGS: Final = (
    "SELECT current_setting('server_version_num')::integer, current_setting('fsync'), "
    "current_setting('full_page_writes'), current_setting('synchronous_commit'), pg_is_in_recovery()"
)
_MIGRATION_LOCK: Final = "SELECT pg_advisory_xact_lock(7669765473206167)"


def connect(url: str, settings: PostgresSettings, patience: Patience | None = None) -> Connection:
    """Connect, and refuse a database that could not keep the promises. Raises `StoreUnavailable` with the remedy.

    Each statement is a transaction of its own until it says BEGIN. A peer that is gone without a word is noticed after
    ten seconds or so (keepalives), not after hours.
    """
    try:
        connection = psycopg.connect(
            url,
            autocommit=True,
            prepare_threshold=_USES_BEFORE_A_PLAN_IS_KEPT if settings.prepare else None,
            connect_timeout=max(2, settings.connect_timeout_us // 1_000_000),
            application_name="jobwire",
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=10_000,
        )
    except psycopg.Error as error:
        raise StoreUnavailable(
            f"PostgreSQL cannot be reached: {sentence(error)}. See that it runs, and that --db names it.",
            retry_after_us=500_000,
        ) from error
    try:
        with nullcontext() if patience is None else patience.of(connection, settings.silence_us / SECOND_US):
            _refuse_what_breaks_promises(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_what_breaks_promises(connection: Connection) -> None:
    try:
        row = connection.execute(_SETTINGS, prepare=False).fetchone()
    except psycopg.Error as error:
        raise StoreUnavailable(f"PostgreSQL does not answer: {sentence(error)}.", retry_after_us=500_000) from error
    if row is None:
        raise AssertionError("a SELECT without FROM has one row")
    refusal = refusal_of(*row)
    if refusal is not None:
        raise StoreUnavailable(refusal)


def refusal_of(version: int, fsync: str, full_page_writes: str, synchronous_commit: str, standby: bool) -> str | None:
    """Why a database with these settings cannot hold jobs, None when it can."""
    if version < OLDEST_VERSION:
        return (
            f"PostgreSQL {version // 10_000} is too old: jobwire needs {OLDEST_VERSION // 10_000} or newer. "
            "Upgrade it, or name another --db."
        )
    if standby:
        return "This PostgreSQL is a standby, which cannot be written: name the primary in --db."
    for name, value in (("fsync", fsync), ("full_page_writes", full_page_writes)):
        if value != "on":
            return (
                f"PostgreSQL runs with {name} = {value}: a crash would lose jobs that were acknowledged. "
                f"Set {name} = on in postgresql.conf, and reload it."
            )
    if synchronous_commit == "off":
        return (
            "PostgreSQL commits with synchronous_commit = off: a crash would lose jobs that were acknowledged. "
            "Set it to on for the role or the database that jobwire uses."
        )
    return None


def migrate(connection: Connection, clock: Clock, failpoint: Failpoint) -> None:
    """Bring the schema up to date: each migration in one transaction with its record; two servers take turns."""
    with connection.transaction():
        connection.execute(_MIGRATION_LOCK)
        connection.execute("CREATE SCHEMA IF NOT EXISTS jobwire")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS jobwire.migration (number integer PRIMARY KEY, name text NOT NULL, "
            "checksum text NOT NULL, applied_us bigint NOT NULL)"
        )
    while _migrate_one(connection, clock, failpoint):
        failpoint("migrate.after_commit")
    connection.execute(
        "INSERT INTO jobwire.meta (epoch, compacted) VALUES (%s, 0) ON CONFLICT DO NOTHING", (secrets.token_hex(8),)
    )


def _migrate_one(connection: Connection, clock: Clock, failpoint: Failpoint) -> bool:
    with connection.transaction():
        connection.execute(_MIGRATION_LOCK)
        applied: dict[int, str] = dict(connection.execute("SELECT number, checksum FROM jobwire.migration").fetchall())
        pending = plan(applied, shipped(files(__package__) / "migrations"))
        if not pending:
            return False
        migration = pending[0]
        connection.execute(migration.sql, prepare=False)
        connection.execute(
            "INSERT INTO jobwire.migration VALUES (%s, %s, %s, %s)",
            (migration.number, migration.name, migration.checksum, clock.wall_us()),
        )
        failpoint("migrate.before_commit")
    return True


def begin_write(settings: PostgresSettings) -> str:
    """The statements that begin a transaction that writes; the second answers where the log stands."""
    lock, statement, idle = _milliseconds(settings)
    return f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT * FROM jobwire.enter_write({lock}, {statement}, {idle})"  # noqa: S608 - numbers of ours


def begin_read(settings: PostgresSettings) -> str:
    """The statements that begin a transaction that reads, in one snapshot."""
    _, statement, idle = _milliseconds(settings)
    return f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT jobwire.enter({statement}, {idle})"


def _milliseconds(settings: PostgresSettings) -> tuple[int, int, int]:
    times_us = (settings.lock_timeout_us, settings.statement_timeout_us, settings.idle_timeout_us)
    lock, statement, idle = (max(1, time_us // 1000) for time_us in times_us)
    return lock, statement, idle


def away() -> StoreUnavailable:
    """What callers are told while the database does not answer: nothing of where it is, or why."""
    return StoreUnavailable("The database does not answer now: try again.", retry_after_us=500_000)


SESSION_WAS_CHANGED: Final = (psycopg.errors.InvalidSqlStatementName, psycopg.errors.DuplicatePreparedStatement)
"""What a statement fails with that was prepared in another session: a pooler has lent us one."""


def behind_a_pooler() -> StoreUnavailable:
    """What to do when sessions change under our hands."""
    return StoreUnavailable(
        "PostgreSQL is behind a pooler in transaction mode, which this server was not told: start it with --db-pooler."
    )


def unavailable(error: psycopg.Error, what: str) -> StoreUnavailable:
    """What to tell an operator: `what`, then what the database said; or that a pooler is in between."""
    if isinstance(error, SESSION_WAS_CHANGED):
        return behind_a_pooler()
    return StoreUnavailable(f"{what}: {sentence(error)}.")


def sentence(error: Exception) -> str:
    """What the database or its client library said, in one line without its full stop."""
    return " ".join(str(error).split()).rstrip(".?") or type(error).__name__
