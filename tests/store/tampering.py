"""A store with all that may belong to a job, and what may be done to it behind its back, for every driver."""

from __future__ import annotations

from jobwire_server.domain.job import Content, JobError, State
from jobwire_server.domain.outcome import Failed, Succeeded
from jobwire_server.store.base import LeaseUpdate
from tests.helpers.stores import SECOND_US, StoreRig

LARGE = Content(b"x" * 5000)


async def fill(rig: StoreRig) -> None:
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


KEY = "(SELECT key FROM job WHERE id = '{}')"
NEWEST = "(SELECT revision FROM job WHERE id = '{}')"

TAMPERED = {
    # what was done: the statement, then the table, the row and some words of the problem that is found
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
