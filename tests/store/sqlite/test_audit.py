"""The check of a store: silent about what its verbs wrote, and it names the row of whatever else was done to it."""

from __future__ import annotations

from itertools import pairwise

import apsw
import pytest

from jobwire_server.domain.job import Content, JobError, State
from jobwire_server.domain.outcome import Failed, Succeeded
from jobwire_server.store.base import LeaseUpdate
from jobwire_server.store.sqlite.audit import Problem
from jobwire_server.store.sqlite.visiting import check_store
from tests.helpers.stores import SECOND_US, StoreRig

pytestmark = pytest.mark.asyncio

LARGE = Content(b"x" * 5000)


async def _fill(rig: StoreRig) -> None:
    """Jobs `running`, `done`, `failed`, `again` and `gone`, with all that may belong to a job."""
    rig.tampered = True
    await rig.add(job_id="running", payload=LARGE, labels={"customer": "42"})
    running = await rig.lease_one()
    update = LeaseUpdate(running.key, running.fence, 30 * SECOND_US, checkpoint=Content(b"so far"))
    await rig.store.extend([update])
    await rig.run(Succeeded(LARGE), job_id="done")
    await rig.run(Failed(JobError(type="Fatal", retryable=False)), job_id="failed")
    await rig.run(Failed(JobError(type="OSError")), job_id="again")
    await rig.job_in(State.COMPLETED, job_id="gone")
    await rig.store.delete("default", "gone")


def _tamper(rig: StoreRig, *statements: str) -> None:
    """Change the closed file past every guard that it has."""
    assert rig.path is not None
    connection = apsw.Connection(str(rig.path))
    connection.execute("PRAGMA ignore_check_constraints = 1")
    for (trigger,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {trigger}")
    for statement in statements:
        connection.execute(statement)
        assert connection.changes() > 0, statement
    connection.close()


def _found(rig: StoreRig) -> list[Problem]:
    assert rig.path is not None
    return list(check_store(rig.path))


KEY = "(SELECT key FROM job WHERE id = '{}')"
NEWEST = "(SELECT revision FROM job WHERE id = '{}')"

TAMPERED = {
    "a lease without its end": (
        "UPDATE job SET lease_expire_us = NULL WHERE id = 'running'", "job", "running", "2 of 3 columns of a lease",
    ),
    "an end without its time": (
        "UPDATE job SET finish_us = NULL WHERE id = 'done'", "job", "done", "1 of 2 columns of an end",
    ),
    "a state that is none": ("UPDATE job SET state = 12 WHERE id = 'done'", "job", "done", "state is 12"),
    "another state than the log's": (
        "UPDATE job SET state = 6 WHERE id = 'done'", "job", "done", "state FAILED, the log COMPLETED",
    ),
    "a fence ahead of the log": (
        "UPDATE job SET fence = fence + 1 WHERE id = 'again'", "job", "again", "fence 2, the log 1",
    ),
    "more attempts than there are": (
        "UPDATE job SET attempt = 99 WHERE id = 'again'", "job", "again", "attempt is 99 of",
    ),
    "an event that is missing at the end": (
        f"DELETE FROM event WHERE revision = {NEWEST.format('done')}", "job", "done", "row and its last event differ",
    ),
    "an event that is missing in the middle": (
        f"DELETE FROM event WHERE key = {KEY.format('done')} AND sequence = 2", "event", "done", "sequence 3 follows 1",
    ),
    "an event that is missing at the begin": (
        f"DELETE FROM event WHERE key = {KEY.format('done')} AND sequence = 1", "event", "done", "before it is missing",
    ),
    "an event that names another one": (
        f"UPDATE event SET previous = 1 WHERE revision = {NEWEST.format('done')}", "event", "done", "names revision 1",
    ),
    "an illegal step": (
        f"UPDATE event SET state = 2 WHERE key = {KEY.format('done')} AND sequence = 2", "event", "done",
        "not a step of the lifecycle",
    ),
    "a leaping fence in the log": (
        f"UPDATE event SET fence = 5 WHERE key = {KEY.format('running')} AND sequence = 2", "event", "running",
        "fence 0 became 5",
    ),
    "a job that vanished": ("DELETE FROM job WHERE id = 'done'", "job", "done", "knows of no deletion"),
    "a job that came back": (
        "UPDATE event SET kind = 5 WHERE key = (SELECT key FROM job WHERE id = 'done') AND state = 5", "job", "done",
        "says that it was deleted",
    ),
    "a job without any event": (
        f"DELETE FROM event WHERE key = {KEY.format('again')}", "job", "again", "it has no event",
    ),
    "events below the floor of the log": (
        "UPDATE meta SET value = 1 WHERE name = 'compacted'", "event", "running", "below the floor",
    ),
    "an attempt of another fence": (
        f"UPDATE attempt SET fence = 9 WHERE key = {KEY.format('again')}", "attempt", "again fence 9",
        "ahead of its job",
    ),
    "an attempt that was never leased": (
        f"UPDATE attempt SET number = 7 WHERE key = {KEY.format('again')}", "attempt", "again",
        "no lease with this fence",
    ),
    "an attempt of nobody": ("UPDATE attempt SET key = key + 9000", "attempt", "key 90", "job is gone"),
    "a payload that is lost": (
        f"DELETE FROM content WHERE id = 2 * {KEY.format('running')}", "job", "running", "payload is in neither",
    ),
    "a result that is lost": (
        f"DELETE FROM content WHERE id = 2 * {KEY.format('done')} + 1", "job", "done", "result is in neither",
    ),
    "a payload that was cut": (
        f"UPDATE content SET data = x'00' WHERE id = 2 * {KEY.format('running')}", "content", "id ", "its size is not",
    ),
    "a content of nobody": ("INSERT INTO content VALUES (99998, x'00')", "content", "id 99998", "is gone"),
    "a label that filters do not find": ("DELETE FROM label", "job", "running", "filters do not find"),
    "a label that its job does not have": (
        "UPDATE label SET value = '43'", "label", "customer=43 of job running", "does not have it",
    ),
    "a checkpoint that is lost": ("DELETE FROM checkpoint", "job", "running", "checkpoint is gone"),
    "a checkpoint of nobody": (
        "UPDATE job SET checkpointed = 0 WHERE id = 'running'", "checkpoint", "key ", "does not know of it",
    ),
    "a request key of nobody": (
        "INSERT INTO request_key VALUES ('default', 'lost', x'00', 9999, 1, NULL, 1, 0)", "request_key", "lost",
        "none of its jobs",
    ),
}  # fmt: skip


async def test_what_the_verbs_wrote_is_sound_also_beside_the_open_store(file_rig: StoreRig) -> None:
    await _fill(file_rig)
    assert _found(file_rig) == []
    await file_rig.store.close()
    assert _found(file_rig) == []


@pytest.mark.parametrize(("statement", "table", "row", "words"), TAMPERED.values(), ids=TAMPERED.keys())
async def test_what_was_tampered_with_is_found_and_its_row_named(
    file_rig: StoreRig, statement: str, table: str, row: str, words: str
) -> None:
    await _fill(file_rig)
    await file_rig.store.close()
    _tamper(file_rig, statement)

    problems = _found(file_rig)

    assert any(each.table == table and row in each.row and words in each.problem for each in problems), problems


async def test_a_page_that_is_no_page_is_found(file_rig: StoreRig) -> None:
    await _fill(file_rig)
    await file_rig.store.close()
    path = file_rig.path
    assert path is not None
    data = bytearray(path.read_bytes())
    data[3 * 4096 : 3 * 4096 + 64] = b"\xff" * 64
    path.write_bytes(data)

    assert any(each.table == "file" for each in _found(file_rig))


async def test_a_log_that_was_compacted_is_held_to_what_is_left_of_it(file_rig: StoreRig) -> None:
    rig = file_rig
    await rig.configure(event_retention_us=0, event_retention_count=3)
    await _fill(rig)
    rig.clock.advance(1)
    while (await rig.store.purge(limit=1000)).more:
        pass
    assert (await rig.store.position()).compacted > 0
    assert _found(rig) == []

    await rig.store.close()
    _tamper(rig, "DELETE FROM event WHERE revision = (SELECT max(revision) FROM event)")

    assert [each.table for each in _found(rig)] != []


async def test_problems_come_in_the_order_of_the_jobs(file_rig: StoreRig) -> None:
    await _fill(file_rig)
    await file_rig.store.close()
    _tamper(file_rig, "UPDATE job SET fence = fence + 1")
    order = [each.row for each in _found(file_rig) if each.table == "job"]
    keys = dict(file_rig.sql("SELECT id, key FROM job"))
    assert all(keys[before] < keys[after] for before, after in pairwise(order))
