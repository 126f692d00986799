"""The outbox: a job for each row that is committed, exactly one, whatever dies when."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobwire import Client, JobState, RetryPolicy, SubmitOptions
from jobwire.errors import ArgumentInvalid, NotEncodable
from jobwire.outbox import DbApiOutbox, OutboxTable, Relay, Row, SqlAlchemyOutbox, new_row
from jobwire.outbox.dbapi import Refused
from jobwire.testing import Jobwire
from tests.helpers.processes import REPOSITORY


class Database(NamedTuple):
    """An outbox in a database, by one of the adapters."""

    add: Callable[..., str]
    """In a transaction of its own."""
    abandon: Callable[..., str]
    """In a transaction that is rolled back."""
    table: OutboxTable
    waiting: Callable[[], int]
    refused: Callable[[], list[Refused]]
    retry: Callable[[str], None]


def by_dbapi(path: Path) -> Database:
    outbox = DbApiOutbox("sqlite")

    def within(work: Callable[[sqlite3.Connection], Any], *, commit: bool = True) -> Any:
        connection = sqlite3.connect(path)
        try:
            answer = work(connection)
            connection.commit() if commit else connection.rollback()
            return answer
        finally:
            connection.close()

    within(lambda connection: connection.execute(outbox.schema))
    return Database(
        add=lambda *job, **options: within(lambda each: outbox.add(each, *job, **options)),
        abandon=lambda *job: within(lambda each: outbox.add(each, *job), commit=False),
        table=outbox.table(lambda: sqlite3.connect(path)),
        waiting=lambda: within(lambda each: each.execute("SELECT count(*) FROM jobwire_outbox").fetchone()[0]),
        refused=lambda: within(outbox.refused),
        retry=lambda row_id: within(lambda each: outbox.retry(each, row_id)),
    )


def by_sqlalchemy(path: Path) -> Database:
    metadata = sa.MetaData()
    outbox = SqlAlchemyOutbox(metadata)
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    metadata.create_all(engine)

    def within(work: Callable[[Session], Any], *, commit: bool = True) -> Any:
        with Session(engine) as session:
            answer = work(session)
            session.commit() if commit else session.rollback()
            return answer

    count = sa.select(sa.func.count()).select_from(outbox.sql_table)
    return Database(
        add=lambda *job, **options: within(lambda each: outbox.add(each, *job, **options)),
        abandon=lambda *job: within(lambda each: outbox.add(each, *job), commit=False),
        table=outbox.table(engine),
        waiting=lambda: within(lambda each: each.scalar(count)),
        refused=lambda: within(outbox.refused),
        retry=lambda row_id: within(lambda each: outbox.retry(each, row_id)),
    )


@pytest.fixture(params=[by_dbapi, by_sqlalchemy])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    made: Database = request.param(tmp_path / "shop.db")
    return made


def test_a_committed_row_becomes_a_job_with_its_id_and_goes(database: Database, jobwire: Jobwire) -> None:
    job_id = database.add("order.ship", {"order": 7}, queue="shipping", priority=8, labels={"order": "7"})
    jobwire.refute_submitted("order.ship")

    relayed = Relay(database.table, jobwire.client).once()

    assert (relayed.submitted, relayed.refused, relayed.waiting) == (1, 0, 0)
    found = jobwire.assert_submitted("order.ship", {"order": 7})
    assert (found.job_id, found.queue, found.priority, found.labels) == (job_id, "shipping", 8, {"order": "7"})
    assert database.waiting() == 0
    options: SubmitOptions = {"queue": "shipping", "priority": 8, "labels": {"order": "7"}, "key": job_id}
    again = jobwire.client.submit("order.ship", {"order": 7}, job_id=job_id, **options)
    assert not again.created  # the id is the key, too


def test_a_row_that_is_rolled_back_becomes_nothing(database: Database, jobwire: Jobwire) -> None:
    database.abandon("order.ship", {"order": 7})
    assert Relay(database.table, jobwire.client).once().taken == 0
    jobwire.refute_submitted("order.ship")


def test_rows_are_submitted_in_their_order_over_all_batches(database: Database, jobwire: Jobwire) -> None:
    ids = [database.add("step", {"n": n}) for n in range(7)]
    relay = Relay(database.table, jobwire.client, batch_rows=3)
    assert [relay.once().submitted for _ in range(4)] == [3, 3, 1, 0]
    assert [each.job_id for each in jobwire.submitted("step")] == ids


def test_a_reply_that_is_lost_makes_no_second_job(database: Database, jobwire: Jobwire) -> None:
    database.add("order.ship", {"order": 7}, delay="1h", expires="2h")
    with Client(jobwire.address, tries=1) as client:
        relay = Relay(database.table, client)
        jobwire.lost_reply()
        cut_off = relay.once()
        assert (cut_off.submitted, cut_off.waiting, database.waiting()) == (0, 1, 1)
        assert relay.once().submitted == 1
    assert len(jobwire.submitted("order.ship")) == 1


def test_while_the_server_is_away_nothing_is_lost(database: Database, jobwire: Jobwire) -> None:
    ids = [database.add("step", {"n": n}) for n in range(3)]
    with Client(jobwire.address, tries=1) as client:
        relay = Relay(database.table, client)
        jobwire.unavailable(2)
        assert [relay.once().waiting, relay.once().waiting] == [3, 3]
        assert relay.once().submitted == 3
    assert [each.job_id for each in jobwire.submitted("step")] == ids


def test_a_row_that_will_never_be_taken_is_set_aside_and_stops_no_other(database: Database, jobwire: Jobwire) -> None:
    bad = database.add("step", {"n": 1}, queue="Not A Queue")
    good = database.add("step", {"n": 2})
    relay = Relay(database.table, jobwire.client)

    relayed = relay.once()

    assert (relayed.submitted, relayed.refused) == (1, 1)
    assert [each.job_id for each in jobwire.submitted()] == [good]
    (refused,) = database.refused()
    assert (refused.id, refused.type) == (bad, "step")
    assert refused.reason.startswith("FIELD_INVALID: ")
    assert relay.once().taken == 0  # it is not tried again by itself
    database.retry(bad)
    assert (relay.once().refused, database.waiting()) == (1, 1)


def test_a_row_whose_job_is_there_but_whose_key_is_forgotten_makes_no_second_job(
    database: Database, jobwire: Jobwire
) -> None:
    job_id = database.add("order.ship", {"order": 7}, retention="1h")
    with database.table.take(10) as batch:  # a relay that submits, and ends before its mark
        jobwire.client.submit_many([row.submission() for row in batch.rows])
    jobwire.client.cancel(job_id)
    jobwire.advance("3d")  # the job and its key are gone, its id is remembered
    assert [each.state for each in jobwire.submitted()] == []

    assert Relay(database.table, jobwire.client).once().submitted == 1
    assert jobwire.submitted() == []
    assert database.waiting() == 0


def test_two_relays_at_once_make_one_job_of_each_row(database: Database, jobwire: Jobwire) -> None:
    ids = [database.add("step", {"n": n}) for n in range(5)]
    relay = Relay(database.table, jobwire.client)
    with database.table.take(10) as batch:
        jobwire.client.submit_many([row.submission() for row in batch.rows])
        assert relay.once().submitted == 5  # the other one, in between: this database cannot lock rows
        batch.settle(done=[row.id for row in batch.rows], refused=[])
    assert [each.job_id for each in jobwire.submitted("step")] == ids
    assert database.waiting() == 0


def test_a_relay_that_runs_stops_when_it_is_told(database: Database, jobwire: Jobwire) -> None:
    relay = Relay(database.table, jobwire.client)
    database.add("step")

    class Stopping:
        """A table whose second look is the last."""

        def __init__(self) -> None:
            self.looks = 0

        def take(self, limit: int) -> Any:
            self.looks += 1
            if self.looks == 2:
                relay.stop()
            return database.table.take(limit)

    table = Stopping()
    relay._table = table
    relay.run(poll="1ms")
    assert (table.looks, len(jobwire.submitted("step"))) == (2, 1)


@pytest.mark.parametrize("adapter", ["dbapi", "sqlalchemy"])
def test_a_relay_killed_between_submit_and_mark_makes_no_second_job(
    adapter: str, tmp_path: Path, jobwire: Jobwire
) -> None:
    path = tmp_path / "shop.db"
    database = (by_dbapi if adapter == "dbapi" else by_sqlalchemy)(path)
    ids = [database.add("step", {"n": n}) for n in range(20)]
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(REPOSITORY)!r})
from pathlib import Path
from jobwire import Client
from jobwire.outbox import Relay
from tests.integrations import test_outbox as outboxes

class Killed:
    def __init__(self, inner): self.rows = inner.rows
    def settle(self, **marks): os.kill(os.getpid(), signal.SIGKILL)

class Table:
    def __init__(self, inner): self.inner = inner
    def take(self, limit):
        from contextlib import contextmanager
        @contextmanager
        def taking():
            with self.inner.take(limit) as batch:
                yield Killed(batch)
        return taking()

database = outboxes.by_{adapter}(Path({str(path)!r}))
Relay(Table(database.table), Client()).once()
"""
    ended = subprocess.run([sys.executable, "-c", program], env=dict(os.environ), timeout=50, check=False)

    assert ended.returncode == -signal.SIGKILL
    assert (len(jobwire.submitted("step")), database.waiting()) == (20, 20)
    assert Relay(database.table, jobwire.client).once().submitted == 20
    assert [each.job_id for each in jobwire.submitted("step")] == ids
    assert database.waiting() == 0


# --- rows -------------------------------------------------------------------------------------------------------------


def test_every_option_of_a_submit_survives_the_row(jobwire: Jobwire) -> None:
    at = datetime(2030, 1, 1, 12, tzinfo=UTC)
    policy = RetryPolicy(initial_backoff=timedelta(seconds=3), jitter=0.0, non_retryable_error_types=("E",))
    row = new_row(
        "t", {"a": 1}, queue="q", at=at, priority=1, labels={"l": "1"}, headers={"h": "2"}, timeout="90s",
        max_attempts=4, expires=at + timedelta(days=1), retention="2d", retry=policy,
    )  # fmt: skip
    submission = Row(1, *row[:-1]).submission()
    job = jobwire.client.submit(submission.type, submission.payload, **submission.options).get()
    spec = job.spec
    assert (job.job_id, spec.queue, spec.priority, spec.labels, spec.headers) == (
        row.id,
        "q",
        1,
        {"l": "1"},
        {"h": "2"},
    )
    assert (spec.attempt_timeout, spec.retention) == (timedelta(seconds=90), timedelta(days=2))
    assert spec.retry_policy is not None
    assert (spec.retry_policy.max_attempts, spec.retry_policy.initial_backoff) == (4, timedelta(seconds=3))
    assert spec.retry_policy.non_retryable_error_types == ("E",)
    assert spec.expire_time is not None
    assert spec.schedule_time is not None
    assert spec.expire_time - spec.schedule_time == timedelta(days=1)


@pytest.mark.parametrize("payload", [None, {"a": [1, 2]}, b"\x00\x01", "text", 7])
def test_every_kind_of_payload_survives_the_row(payload: object, database: Database, jobwire: Jobwire) -> None:
    database.add("t", payload)
    Relay(database.table, jobwire.client).once()
    (found,) = jobwire.submitted("t")
    assert found.payload == payload


def test_what_can_be_checked_is_checked_before_the_commit() -> None:
    with pytest.raises(NotEncodable):
        new_row("t", object())
    with pytest.raises(ArgumentInvalid, match="id of its own"):
        new_row("t", key="k")
    with pytest.raises(ArgumentInvalid, match="id of its own"):
        new_row("t", job_id="j")
    with pytest.raises(ArgumentInvalid, match="time zone"):
        new_row("t", at=datetime(2030, 1, 1))  # noqa: DTZ001 - that is the mistake
    with pytest.raises(ArgumentInvalid, match="not both"):
        new_row("t", delay="1s", at=datetime(2030, 1, 1, tzinfo=UTC))
    with pytest.raises(ArgumentInvalid):
        new_row("t", priority="high")  # type: ignore[arg-type]


def test_a_damaged_row_is_set_aside_too(tmp_path: Path, jobwire: Jobwire) -> None:
    database = by_dbapi(tmp_path / "shop.db")
    database.add("t")
    connection = sqlite3.connect(tmp_path / "shop.db")
    connection.execute("UPDATE jobwire_outbox SET options = '[1'")
    connection.commit()
    connection.close()
    assert Relay(database.table, jobwire.client).once().refused == 1
    assert database.refused()[0].reason


def test_a_name_that_is_no_name_never_reaches_sql() -> None:
    with pytest.raises(ArgumentInvalid, match="not a name for a table"):
        DbApiOutbox("sqlite", table="x; DROP TABLE orders")


def test_postgresql_locks_the_rows_that_a_relay_has_and_passes_by_those_of_others() -> None:
    select = DbApiOutbox("postgresql").statements.select
    assert select.endswith("ORDER BY position LIMIT %s FOR UPDATE SKIP LOCKED")
    assert "FOR UPDATE" not in DbApiOutbox("sqlite").statements.select


def test_a_cancelled_row_stays_cancelled(database: Database, jobwire: Jobwire) -> None:
    job_id = database.add("t")
    Relay(database.table, jobwire.client).once()
    jobwire.client.cancel(job_id)
    assert jobwire.state(job_id) is JobState.CANCELLED
