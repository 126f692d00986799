"""Points about holding a job: heartbeats, cancels, leases that are lost."""

from __future__ import annotations

from typing import Final

from jobwire.conformance.frames import Fate, Frame, Sender
from jobwire.conformance.journal import Journal
from jobwire.conformance.processes import CANCEL_GRACE_SECONDS, LEASE_SECONDS
from jobwire.conformance.proxy import pass_all
from jobwire.conformance.stage import Stage, describe, result_of, retry
from jobwire.v1 import worker_service_pb2 as worker

_LONG: Final = {"do": "sleep", "seconds": 600}
_NEVER_SECONDS: Final = 3600.0


async def heartbeat(stage: Stage) -> None:
    """A job that runs longer than three leases keeps its lease."""
    await stage.start_worker()
    seconds = 3.2 * LEASE_SECONDS
    job_id = await stage.submit({"do": "sleep", "seconds": seconds})
    job = await stage.reaches(job_id, "COMPLETED")
    stage.demand(job.status.attempt == 1, "the job completed by its first attempt", describe(job.status))
    stage.demand(result_of(job) == {"slept": seconds}, f"{{'slept': {seconds}}}", repr(result_of(job)))


async def window(stage: Stage) -> None:
    """It never asks for more jobs than it has slots, and a stream uses them all."""
    slots = 3
    await stage.start_worker(slots=slots)
    ids = await stage.submit_all([{"do": "sleep", "seconds": 0.5}] * (3 * slots))
    await stage.all_reach(ids, "COMPLETED")
    journal = stage.journal
    most = max([0, *journal.windows, *(pull.max_jobs for pull in journal.pulls)])
    stage.demand(most <= slots, f"windows and pulls of at most {slots}", str(most))
    seen = journal.most_outstanding
    stage.demand(seen <= slots, f"at most {slots} jobs at once", f"{seen} at once")
    if stage.uses_stream:
        stage.demand(seen == slots, f"{slots} jobs at once, as many as slots", f"{seen} at most")


async def cancel(stage: Stage) -> None:
    """A running job that is cancelled stops within its grace."""
    await _cancel(stage)


async def cancel_by_heartbeat(stage: Stage) -> None:
    """A cancel that only the answer to a heartbeat tells of is obeyed, too."""

    async def orders_are_lost(frame: Frame) -> Fate:
        if isinstance(frame.message, worker.WorkResponse) and frame.message.cancel_orders:
            frame.edit()
            del frame.message.cancel_orders[:]
        return Fate.FORWARD

    stage.fault = orders_are_lost
    await _cancel(stage)


async def _cancel(stage: Stage) -> None:
    await stage.start_worker()
    job_id = await stage.submit(_LONG)
    lease = await stage.lease(job_id)
    await stage.cancel(job_id)
    (sent, *_) = await stage.until(
        lambda: stage.journal.outcomes[lease.lease_token],
        f"the worker reports Stopped within the {CANCEL_GRACE_SECONDS:g} s of grace",
        lambda: "no outcome",
        within=CANCEL_GRACE_SECONDS,
    )
    kind = sent.outcome.WhichOneof("outcome")
    stage.demand(kind == "stopped", "the outcome Stopped", str(kind))
    await stage.reaches(job_id, "CANCELLED")
    await stage.works("still here")


async def lease_lost(stage: Stage) -> None:
    """A job whose lease is lost is stopped, and nothing is reported of it."""
    await stage.start_worker()
    job_id = await stage.submit(_LONG, retry_policy=retry(backoff_seconds=_NEVER_SECONDS))
    token = (await stage.lease(job_id)).lease_token
    stage.fault = _Silence(token)
    await stage.reaches(job_id, "RETRYING")
    stage.fault = pass_all
    await stage.pause(LEASE_SECONDS)  # to learn of it, by the server's word or by its own clock
    told = stage.clock.monotonic()
    await stage.pause(LEASE_SECONDS)
    late = [frame for frame in stage.journal.updates[token] if frame.seconds > told]
    stage.demand(not late, "a lost lease left alone", f"the worker went on extending it, {len(late)} times")
    outcomes = [sent.outcome.WhichOneof("outcome") for sent in stage.journal.outcomes[token]]
    stage.demand(not outcomes, "no outcome under the lost lease", repr(outcomes))
    await stage.works("still here")
    await stage.cancel(job_id)


async def late_outcome(stage: Stage) -> None:
    """An outcome that comes after its lease was lost is refused; the worker throws it away and goes on."""
    await stage.start_worker()
    late = _LateOutcome(stage.journal)
    stage.fault = late.fault
    job_id = await stage.submit({"do": "echo", "value": "late"}, retry_policy=retry(backoff_seconds=1.0))
    token = (await stage.lease(job_id)).lease_token
    busy = await stage.submit({"do": "sleep", "seconds": 4 * LEASE_SECONDS}) if stage.uses_stream else ""
    await stage.reaches(job_id, "RETRYING")
    late.let_go()
    (ack, *_) = await stage.until(
        lambda: stage.journal.acks[token], "the late outcome is answered", lambda: "no answer yet"
    )
    sent_before = len(stage.journal.outcomes[token])
    code = worker.OutcomeCode.Name(ack.code)
    stage.demand(ack.code == worker.OUTCOME_CODE_LEASE_LOST, "OUTCOME_CODE_LEASE_LOST", code)
    job = await stage.reaches(job_id, "COMPLETED")
    stage.demand(job.status.attempt == 2, "the job completed by its second attempt", describe(job.status))
    if busy:
        await stage.reaches(busy, "COMPLETED")
    await stage.works("still here")
    again = len(stage.journal.outcomes[token]) - sent_before
    stage.demand(again == 0, "a refused outcome not sent again", f"it was sent {again} times more")


class _LateOutcome:
    """Keeps the first outcome back until it is due, and lets its lease run out meanwhile.

    In a stream nothing may wait (the server would miss the other frames), so the outcome is taken out of its frame, and
    put into a later one. A unary call simply waits.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._is_due = False
        self._kept: worker.Outcome | None = None
        self._is_done = False

    def let_go(self) -> None:
        """The outcome may go on its way."""
        self._is_due = True
        self._journal.note()

    async def fault(self, frame: Frame) -> Fate:
        """See `Fault`."""
        if self._is_done or frame.sender is Sender.SERVER:
            return Fate.FORWARD
        message = frame.message
        if self._kept is None and frame.outcomes:
            self._kept = worker.Outcome()
            self._kept.CopyFrom(frame.outcomes[0])
            if not isinstance(message, worker.WorkRequest):
                await self._journal.until(lambda: self._is_due)
                self._is_done = True
                return Fate.FORWARD
            frame.edit()
            del message.outcomes[0]
        if self._kept is not None and isinstance(message, worker.WorkRequest) and self._is_due:
            frame.edit()
            message.outcomes.append(self._kept)
            self._is_done = True
        return await _Silence(self._kept.lease_token)(frame) if self._kept is not None else Fate.FORWARD


async def killed_worker(stage: Stage) -> None:
    """A worker that was killed is another instance when it comes back, and its jobs run again."""
    await stage.start_worker()
    job_id = await stage.submit({"do": "sleep", "seconds": LEASE_SECONDS})
    await stage.held(job_id)
    await stage.kill_worker()
    await stage.start_worker()
    job = await stage.reaches(job_id, "COMPLETED")
    stage.demand(job.status.attempt == 2, "the job completed by its second attempt", describe(job.status))
    if stage.uses_stream:
        first, second = (each.hello.instance_id for each in stage.journal.introductions[:2])
        stage.demand(first != second, "another instance_id after each start", f"{first!r} both times")


class _Silence:
    """Keeps the server from hearing of one lease."""

    def __init__(self, token: bytes) -> None:
        self._token = token

    async def __call__(self, frame: Frame) -> Fate:
        """See `Fault`."""
        if not any(update.lease_token == self._token for update in frame.updates):
            return Fate.FORWARD
        message = frame.edit()
        assert isinstance(message, worker.WorkRequest | worker.HeartbeatRequest)
        others = [update for update in message.lease_updates if update.lease_token != self._token]
        if isinstance(message, worker.HeartbeatRequest) and not others:
            return Fate.CUT  # a request without updates would be refused
        del message.lease_updates[:]
        message.lease_updates.extend(others)
        return Fate.FORWARD
