"""The same commands to a store in a file and to one on PostgreSQL: each answer and in the end each row is the same."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from jobwire_server.domain.errors import JobwireError
from jobwire_server.domain.job import Content, JobError, NewJob, RetryPolicy, State
from jobwire_server.domain.outcome import Failed, Outcome, Released, Snoozed, Stopped, Succeeded
from jobwire_server.store.base import (
    JobFilter,
    Lane,
    Lease,
    LeaseRequest,
    LeaseUpdate,
    ListQuery,
    QueueShare,
    Report,
    Submission,
)
from tests.helpers.factories import new_job
from tests.helpers.postgres import PostgresServer
from tests.helpers.postgres_rig import PostgresRig
from tests.helpers.stores import REMOTE, SECOND_US, US, StoreRig

LANES = (Lane("a", "x"), Lane("a", "y"), Lane("b", "x"))
SETTINGS = {
    "inline_content_bytes": 8,
    "event_retention_us": 60 * SECOND_US,
    "event_retention_count": 20,
    "max_depth": 30,
}
STANDING = "SELECT key, state, attempt, fence, losses, revision, due_us, lease_expire_us FROM job ORDER BY key"
TABLES = ("job", "event", "label", "content", "attempt", "checkpoint", "request_key", "tombstone")
OUTCOMES: tuple[Outcome, ...] = (
    Succeeded(Content(b"done", "a/b")),
    Succeeded(Content(bytes(100))),
    Succeeded(None, [new_job(job_id="follows", id_chosen=True, queue="a", type="x")]),
    Failed(JobError(type="OSError", message="nul \0 and snow \u2603")),
    Failed(JobError(type="Fatal", retryable=False)),
    Released(),
    Snoozed(3 * SECOND_US),
    Stopped("asked to", Content(b"so far")),
)


class Command(NamedTuple):
    """One thing to do; the numbers choose what with."""

    verb: str
    first: int
    second: int


class Subject:
    """A store, and what the commands before have left to speak of."""

    def __init__(self, rig: StoreRig) -> None:
        self.rig = rig
        self.leases: list[Lease] = []
        self.ids: list[str] = ["nobody"]
        self.batches = 0

    async def answer(self, command: Command, job: NewJob) -> object:
        """What the store answers, refusals included."""
        try:
            return await VERBS[command.verb](self, command, job)
        except JobwireError as error:
            return type(error), error.message, error.facts

    def rows(self) -> dict[str, Any]:
        """Every row of the tables that both have."""
        dump = self.rig.dump()
        # An empty content is NULL in one, and a row that has none says so in another column.
        return {table: sorted([tuple(v or None for v in row) for row in dump[table]], key=repr) for table in TABLES}


async def _submit(subject: Subject, command: Command, job: NewJob) -> object:
    receipt = await subject.rig.submit(job, tenant=("default", "red")[command.second % 2])
    subject.ids += [answer.job_id for answer in receipt.answers if not isinstance(answer, JobwireError)]
    return [_plain(answer) for answer in receipt.answers], receipt.position[1:], receipt.time_us


async def _submit_batch(subject: Subject, command: Command, job: NewJob) -> object:
    subject.batches += 1
    name = f"batch-{subject.batches}"
    jobs = [job._replace(job_id=f"{name}-{number}", id_chosen=False) for number in range(command.first % 4 + 1)]
    submission = Submission("default", jobs, atomic=True, request_id=("", "k")[command.second % 2], batch_id=name)
    receipt = await subject.rig.store.submit(submission)
    return receipt.answers, receipt.position[1:], receipt.batch_id


async def _lease(subject: Subject, command: Command, job: NewJob) -> object:
    shares = (QueueShare("a", 2), QueueShare("b", 1)) if command.second % 2 else ()
    owner = (US, REMOTE)[command.first % 2]
    lanes = LANES[: command.first % 3 + 1]
    request = LeaseRequest(owner, lanes, command.second % 4 + 1, 10 * SECOND_US, max_bytes=60, shares=shares)
    leases = await subject.rig.store.lease(request)
    subject.leases += leases
    return leases


async def _report(subject: Subject, command: Command, job: NewJob) -> object:
    if not subject.leases:
        return None
    lease = subject.leases[command.first % len(subject.leases)]
    answers = await subject.rig.store.report([Report(lease.key, lease.fence, OUTCOMES[command.second % len(OUTCOMES)])])
    return [(answer[:3], _plain(answer.refusal)) for answer in answers]


async def _extend(subject: Subject, command: Command, job: NewJob) -> object:
    checkpoint = Content(bytes(command.second), "c/p") if command.second % 3 == 0 else None
    updates = [
        LeaseUpdate(lease.key, lease.fence, 5 * SECOND_US, float(command.second % 100), "on its way", checkpoint)
        for lease in subject.leases[-command.first % 4 :]
    ]
    return await subject.rig.store.extend(updates) if updates else None


async def _sweep(subject: Subject, command: Command, job: NewJob) -> object:
    store = subject.rig.store
    sweeps = (store.expire_leases, store.promote_due, store.expire_jobs, store.purge)
    # Which leases a bound leaves for the next time is nobody's promise.
    limit = 1000 if command.first % 4 == 0 else command.second % 3 + 1
    return await sweeps[command.first % 4](limit=limit)


async def _pass_time(subject: Subject, command: Command, job: NewJob) -> object:
    subject.rig.clock.advance(command.first % 13)
    return None


def _an_id(subject: Subject, command: Command) -> str:
    return subject.ids[command.first % len(subject.ids)]


async def _list(subject: Subject, command: Command, job: NewJob) -> object:
    wanted = (
        JobFilter(),
        JobFilter(queues=("a", "b"), states=(State.PENDING,)),
        JobFilter(types=("x",), labels={"n": "1"}),
        JobFilter(states=(State.FAILED, State.CANCELLED)),
        JobFilter(create_time_min_us=subject.rig.clock.wall_us() - 5 * SECOND_US),
    )[command.first % 5]
    page = await subject.rig.store.list_jobs("default", ListQuery(wanted, command.second % 5 + 1, full=True))
    return page.jobs, page.next_key, page.position[1:]


async def _look(subject: Subject, command: Command, job: NewJob) -> object:
    store, job_id = subject.rig.store, _an_id(subject, command)
    return (
        await store.get("default", [job_id, "nobody"], full=True),
        await store.counts(),
        await store.pending_lanes(None),
        await store.held_by(REMOTE.instance_id, limit=10),
        await store.events(after=0, limit=100, tenant="default", job_ids=[job_id]),
        (await store.position())[1:],
    )


async def _reattach(subject: Subject, command: Command, job: NewJob) -> object:
    held = [(lease.key, lease.fence) for lease in subject.leases[command.first % 3 :]]
    return await subject.rig.store.reattach(REMOTE, held)


VERBS: dict[str, Callable[[Subject, Command, NewJob], Any]] = {
    "submit": _submit,
    "submit batch": _submit_batch,
    "lease": _lease,
    "report": _report,
    "extend": _extend,
    "sweep": _sweep,
    "pass time": _pass_time,
    "list": _list,
    "look": _look,
    "reattach": _reattach,
    "cancel": lambda subject, command, job: subject.rig.store.cancel(
        "default", _an_id(subject, command), reason="no more", force=command.second % 2 == 0
    ),
    "retry": lambda subject, command, job: subject.rig.store.retry(
        "default", _an_id(subject, command), additional_attempts=command.second % 3
    ),
    "delete": lambda subject, command, job: subject.rig.store.delete("default", _an_id(subject, command)),
    "recover": lambda subject, command, job: subject.rig.store.recover(
        instance_id=f"boot-{command.first % 2}", limit=1000
    ),
}


def _plain(answer: object) -> object:
    """Errors have no equality of their own."""
    return (type(answer), answer.message) if isinstance(answer, JobwireError) else answer


def _job(command: Command) -> NewJob:
    lane = LANES[command.first % 3]
    fields: dict[str, Any] = {"queue": lane.queue, "type": lane.type, "priority": command.second % 10}
    if command.second % 3 == 0:
        fields |= {"labels": {"n": str(command.first % 2)}, "payload": Content(bytes(command.first), "a/b")}
    if command.second % 4 == 0:
        fields |= {"retry_policy": RetryPolicy(max_attempts=2), "retention_us": SECOND_US}
    if command.second % 5 == 0:
        fields |= {"request_id": f"r{command.first % 3}", "fingerprint": bytes([command.first % 2])}
    if command.second % 7 == 0:
        fields |= {"job_id": f"mine-{command.first % 2}", "id_chosen": True}
    return new_job(**fields)


commands = st.builds(
    Command, st.sampled_from([*VERBS, "submit", "lease", "lease", "report"]), st.integers(0, 40), st.integers(0, 40)
)


@pytest.mark.timeout(120 * int(os.environ.get("SCALE") or 1))
def test_both_drivers_answer_the_same_to_the_same_commands(postgres: PostgresServer, tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        files = (tmp_path / f"{number}.db" for number in itertools.count())

        @settings(
            max_examples=15 * int(os.environ.get("SCALE") or 1),
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(commands, min_size=20, max_size=60))
        def live_twice(sequence: list[Command]) -> None:
            runner.run(_compare(sequence, postgres, next(files)))

        live_twice()


async def _compare(sequence: list[Command], server: PostgresServer, path: Path) -> None:
    on_postgres = PostgresRig(server, **SETTINGS)
    subjects = [Subject(StoreRig(path, **SETTINGS)), Subject(on_postgres)]
    try:
        for subject in subjects:
            await subject.rig.open()
        for command in sequence:
            job = _job(command)
            in_file, in_database = [await subject.answer(command, job) for subject in subjects]
            assert in_database == in_file, command
            in_file, in_database = [subject.rig.sql(STANDING) for subject in subjects]
            assert in_database == in_file, command
        in_file, in_database = [subject.rows() for subject in subjects]
        for table in TABLES:
            assert in_database[table] == in_file[table], table
        for subject in subjects:
            await subject.rig.close()
    finally:
        on_postgres.dispose()
