"""What the database itself refuses, whatever the code above it does: tried through a connection of our own."""

from __future__ import annotations

import re

import psycopg
import pytest

from jobwire_server.domain.job import TERMINAL_STATES, State
from jobwire_server.domain.lifecycle import TRANSITIONS
from tests.helpers.postgres_rig import PostgresRig

pytestmark = pytest.mark.asyncio

LEGAL = {(old, step.to) for old, row in TRANSITIONS.items() for step in row.values()}
TERMINAL = f"({', '.join(str(int(state)) for state in sorted(TERMINAL_STATES))})"


def _try(rig: PostgresRig, *statements: str, keep: bool = True) -> str:
    """Run statements in one transaction; return what the database said against them, or ''."""
    try:
        with rig.connection.transaction(force_rollback=not keep):
            for statement in statements:
                rig.connection.execute(statement, prepare=False)
    except (psycopg.IntegrityError, psycopg.DataError, psycopg.errors.SyntaxErrorOrAccessRuleViolation) as error:
        return str(error)
    return ""


def _move(new: State, *, old: State) -> str:
    """An UPDATE that keeps every other rule, so that only the transition can be refused."""
    attempt = int((old, new) == (State.PENDING, State.PROCESSING))
    return (
        f"UPDATE job SET state = {int(new)}, sequence = sequence + 1, "
        f"revision = (SELECT max(revision) + 1 FROM job), attempt = attempt + {attempt}, "
        f"finish_us = CASE WHEN {int(new)} IN {TERMINAL} THEN 1 END, "
        f"purge_us = CASE WHEN {int(new)} IN {TERMINAL} THEN 1 END, "
        f"lease_expire_us = CASE {int(new)} WHEN 3 THEN 1 END, transport = CASE {int(new)} WHEN 3 THEN 1 END, "
        f"instance_id = CASE {int(new)} WHEN 3 THEN 'i' END"
    )


@pytest.mark.parametrize("old", State, ids=lambda state: state.name)
async def test_every_pair_of_states_is_granted_or_refused_as_the_lifecycle_table_says(
    postgres_rig: PostgresRig, old: State
) -> None:
    rig = postgres_rig
    rig.tampered = True
    if old is State.BLOCKED:
        await rig.add()
        # No verb leads to BLOCKED yet: put the job there past the trigger.
        rig.tamper("ALTER TABLE job DISABLE TRIGGER job_legal")
        assert _try(rig, _move(old, old=State.PENDING)) == ""
        rig.tamper("ALTER TABLE job ENABLE TRIGGER job_legal")
    else:
        await rig.job_in(old)
    for new in State:
        if new is not old:
            answer = _try(rig, _move(new, old=old), keep=False)
            expected = "" if (old, new) in LEGAL else "illegal transition"
            assert re.match(f".*{expected}" if expected else "$", answer), f"{old.name} → {new.name}: {answer}"


STEPS = "sequence = sequence + 1, revision = (SELECT max(revision) + 1 FROM event)"

REFUSED = {
    "a falling fence": f"UPDATE job SET fence = fence - 1, {STEPS}",
    "a leaping fence": f"UPDATE job SET fence = fence + 2, {STEPS}",
    "a falling revision": "UPDATE job SET revision = revision - 1, sequence = sequence + 1",
    "the same revision": "UPDATE job SET revision = revision, sequence = sequence + 1",
    "a state without a revision": (
        "UPDATE job SET state = 2, lease_expire_us = NULL, transport = NULL, instance_id = NULL"
    ),
    "a gap in the sequence": "UPDATE job SET sequence = sequence + 2, revision = revision + 100",
    "a repeated sequence": "UPDATE job SET revision = revision + 100",
    "an attempt out of nowhere": f"UPDATE job SET attempt = attempt + 1, {STEPS}",
    "two attempts given back": f"UPDATE job SET attempt = attempt - 2, {STEPS}",
    "more attempts than allowed": f"UPDATE job SET max_attempts = 0, {STEPS}",
    "another key": "UPDATE job SET key = key + 1000",
    "another id": "UPDATE job SET id = 'other'",
    "another tenant": "UPDATE job SET tenant = 'other'",
    "another queue": "UPDATE job SET queue = 'other'",
    "another type": "UPDATE job SET type = 'other'",
    "another birth": "UPDATE job SET create_us = 1",
    "a state that is none": f"UPDATE job SET state = 10, {STEPS}",
    "processing without a lease": "UPDATE job SET lease_expire_us = NULL",
    "processing without an owner": "UPDATE job SET instance_id = NULL",
    "an end that has not come": "UPDATE job SET finish_us = 1",
    "a priority beyond 9": "UPDATE job SET priority = 10",
    "a text for a number": "UPDATE job SET due_us = 'soon'",
    "the same event twice": "INSERT INTO event SELECT * FROM event",
    "the same step of a job twice": (
        "INSERT INTO event (revision, key, sequence, kind, tenant, job_id, queue, type, create_us, state, attempt, "
        "max_attempts, fence, due_us, time_us) SELECT revision + 100, key, sequence, kind, tenant, job_id, queue, "
        "type, create_us, state, attempt, max_attempts, fence, due_us, time_us FROM event"
    ),
    "an event that comes before the one it follows": "UPDATE event SET previous = revision + 100",
    "the same id twice": (
        "INSERT INTO job (key, tenant, id, id_chosen, state, revision, sequence, attempt, max_attempts, fence, losses, "
        "queue, type, priority, due_us, create_us, change_us, payload_size) SELECT 1000, tenant, id, 0, 2, 1000, 1, 0, "
        "20, 0, 0, queue, type, 5, 1, 1, 1, 0 FROM job"
    ),
    "a job that begins in the middle": (
        "INSERT INTO job (key, tenant, id, id_chosen, state, revision, sequence, attempt, max_attempts, fence, losses, "
        "queue, type, priority, due_us, create_us, change_us, payload_size, finish_us, purge_us) SELECT 1000, tenant, "
        "'x', 0, 5, 1000, 1, 0, 20, 0, 0, queue, type, 5, 1, 1, 1, 0, 1, 1 FROM job"
    ),
    "a secret of the wrong length": "INSERT INTO secret VALUES ('p', '\\x00')",
    "a second epoch": "INSERT INTO meta (epoch, compacted) VALUES ('other', 0)",
}


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED.keys())
async def test_the_database_refuses(postgres_rig: PostgresRig, statement: str) -> None:
    await postgres_rig.job_in(State.PROCESSING)
    before = postgres_rig.dump()
    assert _try(postgres_rig, statement) != ""
    assert postgres_rig.dump() == before


async def test_a_change_of_a_job_cannot_forget_its_event(postgres_rig: PostgresRig) -> None:
    rig = postgres_rig
    await rig.job_in(State.PENDING)
    assert _try(rig, _move(State.CANCELLED, old=State.PENDING)) == ""
    assert rig.sql("SELECT previous_state, state FROM event ORDER BY revision") == [(None, 2), (2, 7)]
