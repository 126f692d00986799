"""The outbox on PostgreSQL: relays pass by each other's rows, and those of one that dies are there for the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from jobwire.outbox import DbApiOutbox, OutboxTable, Relay, SqlAlchemyOutbox
from jobwire.testing import Jobwire

postgres = pytest.importorskip("tests.helpers.postgres", reason="there is no PostgreSQL to test with")


class Database(NamedTuple):
    """An outbox in a database of its own, by one of the adapters."""

    add: Callable[[int], str]
    table: OutboxTable
    waiting: Callable[[], int]


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    made = postgres.PostgresServer()
    yield made
    made.stop()


def by_dbapi(url: str) -> Database:
    import psycopg  # noqa: PLC0415 - comes with the server

    outbox = DbApiOutbox("postgresql")

    def add(number: int) -> str:
        with psycopg.connect(url) as connection:
            return outbox.add(connection, "step", {"n": number})

    def waiting() -> int:
        with psycopg.connect(url) as connection:
            return int(connection.execute("SELECT count(*) FROM jobwire_outbox").fetchall()[0][0])

    with psycopg.connect(url) as connection:
        connection.execute(outbox.schema)
    return Database(add, outbox.table(lambda: psycopg.connect(url)), waiting)


def by_sqlalchemy(url: str) -> Database:
    import sqlalchemy as sa  # noqa: PLC0415

    metadata = sa.MetaData()
    outbox = SqlAlchemyOutbox(metadata)
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool)
    metadata.create_all(engine)

    def add(number: int) -> str:
        with engine.begin() as connection:
            return outbox.add(connection, "step", {"n": number})

    def waiting() -> int:
        with engine.connect() as connection:
            return int(connection.scalar(sa.select(sa.func.count()).select_from(outbox.sql_table)) or 0)

    return Database(add, outbox.table(engine), waiting)


@pytest.fixture(params=[by_dbapi, by_sqlalchemy])
def database(request: pytest.FixtureRequest, server: Any) -> Iterator[Database]:
    name = server.empty_database()
    made: Database = request.param(server.url(name))
    yield made
    server.drop(name)


def test_rows_are_submitted_in_their_order_and_go(database: Database, jobwire: Jobwire) -> None:
    ids = [database.add(number) for number in range(5)]
    relay = Relay(database.table, jobwire.client, batch_rows=2)
    assert [relay.once().submitted for _ in range(4)] == [2, 2, 1, 0]
    assert [each.job_id for each in jobwire.submitted("step")] == ids
    assert database.waiting() == 0


def test_a_relay_passes_by_the_rows_that_another_one_has(database: Database, jobwire: Jobwire) -> None:
    ids = [database.add(number) for number in range(5)]
    relay = Relay(database.table, jobwire.client)

    with database.table.take(3) as batch:
        assert [row.id for row in batch.rows] == ids[:3]
        assert relay.once().submitted == 2
        assert [each.job_id for each in jobwire.submitted("step")] == ids[3:]
        jobwire.client.submit_many([row.submission() for row in batch.rows])
        batch.settle(done=[row.id for row in batch.rows], refused=[])

    assert (database.waiting(), len(jobwire.submitted("step"))) == (0, 5)


def test_the_rows_of_a_relay_that_dies_are_taken_by_another_one(database: Database, jobwire: Jobwire) -> None:
    ids = [database.add(number) for number in range(3)]

    def die() -> None:
        with database.table.take(3) as batch:
            jobwire.client.submit_many([row.submission() for row in batch.rows])
            raise ConnectionError

    with pytest.raises(ConnectionError):
        die()

    assert Relay(database.table, jobwire.client).once().submitted == 3
    assert [each.job_id for each in jobwire.submitted("step")] == ids
