"""What the database itself refuses, whatever the code above it does: tried through a connection of our own."""

from __future__ import annotations

import re

import apsw
import pytest

from jobwire_server.domain.job import TERMINAL_STATES, State
from jobwire_server.domain.lifecycle import TRANSITIONS
from tests.helpers import fsck
from tests.helpers.factories import new_job
from tests.helpers.stores import StoreRig

pytestmark = pytest.mark.asyncio

LEGAL = {(old, step.to) for old, row in TRANSITIONS.items() for step in row.values()}
TERMINAL = f"({', '.join(str(int(state)) for state in sorted(TERMINAL_STATES))})"


def _try(rig: StoreRig, *statements: str, keep: bool = True) -> str:
    """Run statements in one transaction on the closed file; return what the database said against them, or ''."""
    assert rig.path is not None
    connection = apsw.Connection(str(rig.path))
    try:
        connection.execute("BEGIN")
        for statement in statements:
            connection.execute(statement)
        connection.execute("COMMIT" if keep else "ROLLBACK")
    except apsw.ConstraintError as error:
        return str(error)
    finally:
        connection.close()
    return ""


def _move(new: State, *, old: State, extra: str = "") -> str:
    """An UPDATE that keeps every other rule, so that only the transition can be refused."""
    attempt = int((old, new) == (State.PENDING, State.PROCESSING))
    return (
        f"UPDATE job SET state = {int(new)}, sequence = sequence + 1, "
        f"revision = (SELECT max(revision) + 1 FROM job), attempt = attempt + {attempt}, "
        f"finish_us = CASE WHEN {int(new)} IN {TERMINAL} THEN 1 END, "
        f"purge_us = CASE WHEN {int(new)} IN {TERMINAL} THEN 1 END, "
        f"lease_expire_us = CASE {int(new)} WHEN 3 THEN 1 END, transport = CASE {int(new)} WHEN 3 THEN 1 END, "
        f"instance_id = CASE {int(new)} WHEN 3 THEN 'i' END{extra}"
    )


async def _closed_with_a_job(rig: StoreRig, state: State) -> None:
    rig.tampered = True
    if state is State.BLOCKED:
        await rig.add()
    else:
        await rig.job_in(state)
    await rig.store.close()
    if state is State.BLOCKED:
        assert rig.path is not None
        [(trigger,)] = fsck.read(rig.path, "SELECT sql FROM sqlite_schema WHERE name = 'job_changed'")
        # No verb leads to BLOCKED yet: put the job there past the trigger.
        assert _try(rig, "DROP TRIGGER job_changed", _move(state, old=State.PENDING), trigger) == ""


@pytest.mark.parametrize("old", State, ids=lambda state: state.name)
async def test_every_pair_of_states_is_granted_or_refused_as_the_lifecycle_table_says(
    file_rig: StoreRig, old: State
) -> None:
    rig = file_rig
    await _closed_with_a_job(rig, old)
    assert rig.path is not None
    for new in State:
        if new is not old:
            answer = _try(rig, _move(new, old=old), keep=False)
            expected = "" if (old, new) in LEGAL else "illegal transition"
            assert re.fullmatch(f".*{expected}.*" if expected else "", answer), f"{old.name} → {new.name}"


STEPS = "sequence = sequence + 1, revision = (SELECT max(revision) + 1 FROM event)"

REFUSED = {
    "a falling fence": f"UPDATE job SET fence = fence - 1, {STEPS}",
    "a leaping fence": f"UPDATE job SET fence = fence + 2, {STEPS}",
    "a falling revision": "UPDATE job SET revision = revision - 1, sequence = sequence + 1",
    "the same revision": "UPDATE job SET revision = revision, sequence = sequence + 1",
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
    "an event that comes before the one it follows": (
        "INSERT INTO event (revision, key, sequence, previous, kind, tenant, job_id, queue, type, create_us, state, "
        "attempt, max_attempts, fence, due_us, time_us) SELECT revision + 100, key, sequence, revision + 100, kind, "
        "tenant, job_id, queue, type, create_us, state, attempt, max_attempts, fence, due_us, time_us FROM event"
    ),
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
    "a secret of the wrong length": "INSERT INTO secret VALUES ('p', x'00')",
}


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED.keys())
async def test_the_database_refuses(file_rig: StoreRig, statement: str) -> None:
    rig = file_rig
    await rig.job_in(State.PROCESSING)
    before = rig.dump()
    await rig.store.close()
    assert _try(rig, statement) != ""
    assert rig.dump() == before


async def test_a_change_of_a_job_cannot_forget_its_event(file_rig: StoreRig) -> None:
    rig = file_rig
    await rig.job_in(State.PENDING)
    await rig.store.close()
    assert _try(rig, _move(State.CANCELLED, old=State.PENDING)) == ""
    assert rig.sql("SELECT previous_state, state FROM event ORDER BY revision") == [(None, 2), (2, 7)]


async def test_sequences_are_without_gap_for_each_job_however_verbs_are_mixed(rig: StoreRig) -> None:
    await rig.submit(*(new_job() for _ in range(10)))
    for lease in await rig.lease(6):
        await rig.store.cancel("default", lease.job_id, force=lease.key % 2 == 0)
    await rig.store.recover(instance_id="another", limit=4)
    by_key: dict[int, list[int]] = {}
    for key, sequence in rig.sql("SELECT key, sequence FROM event ORDER BY revision"):
        by_key.setdefault(key, []).append(sequence)
    assert all(found == list(range(1, len(found) + 1)) for found in by_key.values())
