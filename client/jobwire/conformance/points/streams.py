"""Points about the way between worker and server: frames that are lost or come twice, cuts, silence, the unknown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from jobwire.conformance.frames import Fate, Frame, Sender
from jobwire.conformance.processes import LEASE_SECONDS
from jobwire.conformance.proxy import pass_all
from jobwire.conformance.stage import PATIENCE_SECONDS, Stage, describe, result_of
from jobwire.v1 import worker_service_pb2 as worker

HEARTBEAT_SECONDS: Final = LEASE_SECONDS / 3
SILENCE_SECONDS: Final = 45.0
"""After so long without a frame a worker must open another stream."""
_OTHER_PINGS: Final = 1 << 40
"""Pings are numbered from here on: far above what a server counts to while a point lasts, and more than 32 bits."""
_FRAMES_BETWEEN_CUTS: Final = 8
_TRIES_PER_SECOND: Final = 20
# Field 1000 as a number, field 1001 as bytes, field 1002 as a fixed 64-bit value.
_UNKNOWN_FIELDS: Final = b"\xc0\x3e\x07" + b"\xca\x3e\x03new" + b"\xd1\x3e12345678"
_UNKNOWN_STATE: Final = 77


async def ack_lost(stage: Stage) -> None:
    """An outcome whose ack was lost is held on to: named at the next stream, or sent again."""
    await stage.start_worker(slots=1)

    async def first_ack_is_lost(frame: Frame) -> Fate:
        if not frame.acks:
            return Fate.FORWARD
        stage.fault = pass_all
        return Fate.CUT

    stage.fault = first_ack_is_lost
    job_id = await stage.submit({"do": "echo", "value": 7})
    token = (await stage.lease(job_id)).lease_token
    if stage.uses_stream:
        await _demand_named(stage, token)
    await stage.until(
        lambda: len(stage.journal.outcomes[token]) > 1 or stage.journal.is_told_lost(token),
        "the worker sends the outcome again, until it has an answer",
        lambda: "it was sent once",
    )
    job = await stage.reaches(job_id, "COMPLETED")
    stage.demand(job.status.attempt == 1, "the job completed by its first attempt", describe(job.status))
    await stage.works("still here")


async def outcome_lost(stage: Stage) -> None:
    """An outcome that never arrived is sent again."""
    await stage.start_worker(slots=1)

    async def first_outcome_is_lost(frame: Frame) -> Fate:
        if not frame.outcomes:
            return Fate.FORWARD
        stage.fault = pass_all
        return Fate.CUT

    stage.fault = first_outcome_is_lost
    job_id = await stage.submit({"do": "echo", "value": 7})
    token = (await stage.lease(job_id)).lease_token
    if stage.uses_stream:
        await _demand_named(stage, token)
    job = await stage.reaches(job_id, "COMPLETED")
    stage.demand(job.status.attempt == 1, "the job completed by its first attempt", describe(job.status))
    await stage.works("still here")


async def assignment_lost(stage: Stage) -> None:
    """A job that was on its way when the connection broke is not named as held, so that it comes again at once."""
    await stage.start_worker(slots=1)

    async def first_assignment_is_lost(frame: Frame) -> Fate:
        if not frame.assignments:
            return Fate.FORWARD
        stage.fault = pass_all
        return Fate.CUT

    stage.fault = first_assignment_is_lost
    job_id = await stage.submit({"do": "echo", "value": 7})
    job = await stage.reaches(job_id, "COMPLETED")
    if not stage.uses_stream:  # a pull without request_id cannot get it back: the lease has to run out
        return
    await _demand_named(stage)
    (lost, *_) = stage.journal.assignments
    again = stage.journal.introductions[1].hello
    stage.demand(lost not in again.held_lease_tokens, "only leases that it has named as held", "one that it never got")
    stage.demand(job.status.attempt == 1, "the job completed by its first attempt", describe(job.status))


async def assignment_twice(stage: Stage) -> None:
    """A job that is handed over twice under one lease is run and reported once."""
    await stage.start_worker(slots=2)

    async def assignments_come_twice(frame: Frame) -> Fate:
        return Fate.TWICE if frame.assignments and isinstance(frame.message, worker.WorkResponse) else Fate.FORWARD

    stage.fault = assignments_come_twice
    for value in ("first", "second", "third"):
        job_id = await stage.submit({"do": "echo", "value": value})
        job = await stage.reaches(job_id, "COMPLETED")
        stage.demand(result_of(job) == value, f"the result {value!r}", repr(result_of(job)))
    await stage.pause(HEARTBEAT_SECONDS)
    often = [len(sent) for sent in stage.journal.outcomes.values() if len(sent) > 1]
    stage.demand(not often, "one outcome for each lease", f"{len(often)} leases with {max(often, default=0)} outcomes")


async def told_to_retry(stage: Stage) -> None:
    """An outcome that could not be stored for the moment is sent again."""
    await stage.start_worker(slots=1)

    async def first_outcome_is_put_off(frame: Frame) -> Fate:
        message = frame.message
        if not isinstance(message, worker.WorkRequest) or not message.outcomes:
            return Fate.FORWARD
        stage.fault = pass_all
        acks = [
            worker.OutcomeAck(lease_token=outcome.lease_token, code=worker.OUTCOME_CODE_RETRY)
            for outcome in message.outcomes
        ]
        frame.edit()
        del message.outcomes[:]
        await stage.proxy.inject(worker.WorkResponse(outcome_acks=acks))
        return Fate.FORWARD

    stage.fault = first_outcome_is_put_off
    job_id = await stage.submit({"do": "echo", "value": 7})
    job = await stage.reaches(job_id, "COMPLETED")
    stage.demand(job.status.attempt == 1, "the job completed by its first attempt", describe(job.status))
    await stage.works("still here")


async def stream_cut(stage: Stage) -> None:
    """A stream that was cut is opened again, as the same instance and with the leases it holds; jobs run on."""
    await stage.start_worker(slots=2)
    ids = await stage.submit_all([{"do": "sleep", "seconds": 1.5 * LEASE_SECONDS}] * 2)
    tokens = [(await stage.lease(job_id)).lease_token for job_id in ids]
    stage.proxy.cut("Work")
    await _demand_named(stage, *tokens)
    for job in await stage.all_reach(ids, "COMPLETED"):
        stage.demand(job.status.attempt == 1, "the job completed by its first attempt", describe(job.status))
    await stage.works("still here")


async def cut_often(stage: Stage) -> None:
    """Many jobs over a connection that breaks again and again: none is lost, none costs an attempt."""
    await stage.start_worker(slots=4)
    stage.fault = _Cuts()
    ids = await stage.submit_all([{"do": "sleep", "seconds": 0.02}] * min(stage.jobs, 80))
    for job in await stage.all_reach(ids, "COMPLETED"):
        stage.demand(job.status.attempt == 1, "the job completed by its first attempt", describe(job.status))


class _Cuts:
    """Loses, one after the other, a frame with outcomes, with acks, with assignments, and with outcomes again.

    Not more: a worker may make its pauses between streams longer and longer, and leases are short here.
    """

    def __init__(self) -> None:
        self._wanted: list[Callable[[Frame], Sequence[object]]] = [
            lambda frame: frame.outcomes,
            lambda frame: frame.acks,
            lambda frame: frame.assignments,
            lambda frame: frame.outcomes,
        ]
        self._passed = 0

    async def __call__(self, frame: Frame) -> Fate:
        """See `Fault`."""
        self._passed += 1
        if not self._wanted or self._passed < _FRAMES_BETWEEN_CUTS or not self._wanted[0](frame):
            return Fate.FORWARD
        self._passed = 0
        del self._wanted[0]
        return Fate.CUT


async def frozen_stream(stage: Stage) -> None:
    """A stream in which nothing comes any more, and which nobody closes, is given up after 45 s."""
    await stage.start_worker(slots=1)

    async def it_freezes(_frame: Frame) -> Fate:
        return Fate.FREEZE

    job_id = await stage.submit({"do": "sleep", "seconds": LEASE_SECONDS})
    await stage.lease(job_id)
    stage.fault = it_freezes
    frozen = stage.clock.monotonic()
    await stage.pause(2 * HEARTBEAT_SECONDS)
    stage.fault = pass_all
    await stage.until(
        lambda: len(stage.journal.introductions) > 1,
        f"the worker opens another stream after {SILENCE_SECONDS:g} s without a frame",
        lambda: f"none, {stage.clock.monotonic() - frozen:.0f} s after the last frame",
        within=SILENCE_SECONDS + PATIENCE_SECONDS,
    )
    await stage.reaches(job_id, "COMPLETED")
    await stage.works("still here")


async def ping(stage: Stage) -> None:
    """A ping is echoed, also by a worker that has nothing to do."""
    await stage.start_worker()

    async def pings_are_numbered_anew(frame: Frame) -> Fate:
        message = frame.message
        if isinstance(message, worker.WorkResponse) and message.ping_id:
            frame.edit()
            message.ping_id += _OTHER_PINGS
        if isinstance(message, worker.WorkRequest) and message.pong_id >= _OTHER_PINGS:
            frame.edit()
            message.pong_id -= _OTHER_PINGS
        return Fate.FORWARD

    stage.fault = pings_are_numbered_anew
    for times in (1, 2):
        await stage.until(
            lambda times=times: len({each for each in stage.journal.pongs if each > _OTHER_PINGS}) >= times,  # type: ignore[misc]
            f"pings from {_OTHER_PINGS} on are echoed in pong_id, the {times}. one now",
            lambda: f"pong_id of its last frames: {stage.journal.pongs[-5:] or 'none'}",
            within=3 * LEASE_SECONDS,
        )


async def idle_stream(stage: Stage) -> None:
    """A worker that has nothing to do is heard of all the same, and keeps its stream."""
    await stage.start_worker()
    await stage.pause(3 * LEASE_SECONDS)
    ends = [str(call.end) for call in stage.journal.streams() if call.end is not None]
    stage.demand(not ends, f"one stream, open for {3 * LEASE_SECONDS:g} s", f"ends: {', '.join(ends)}")
    await stage.works("still here")


async def unknown_fields(stage: Stage) -> None:
    """Fields, states and empty frames that a newer server may send do no harm."""
    await stage.start_worker()

    async def the_server_is_newer(frame: Frame) -> Fate:
        if frame.sender is Sender.SERVER:
            message = frame.edit()
            if isinstance(message, worker.WorkResponse):
                for ack in message.outcome_acks:
                    ack.state = _UNKNOWN_STATE  # type: ignore[assignment]  # numbers that are not named yet are legal
            _add_unknown(message)
        return Fate.FORWARD

    stage.fault = the_server_is_newer
    await stage.proxy.inject(worker.WorkResponse())
    stage.proxy.cut("Work")  # for a welcome with the unknown in it
    for value in ("first", "second"):
        await stage.works(value)
    job_id = await stage.submit({"do": "sleep", "seconds": LEASE_SECONDS})
    job = await stage.reaches(job_id, "COMPLETED")
    stage.demand(job.status.attempt == 1, "the job completed by its first attempt", describe(job.status))


async def drain_notice(stage: Stage) -> None:
    """On a drain notice it opens another stream that names what it holds; the old one's end is no reason for more."""
    await stage.start_worker(slots=1)
    job_id = await stage.submit({"do": "sleep", "seconds": 1.5 * LEASE_SECONDS})
    token = (await stage.lease(job_id)).lease_token
    notice = worker.DrainNotice(
        reason="STREAM_AGE", reconnect_delay=Duration(nanos=200_000_000), time_left=Duration(seconds=4)
    )
    await stage.proxy.inject(worker.WorkResponse(drain=notice))
    await _demand_named(stage, token)
    job = await stage.reaches(job_id, "COMPLETED")
    stage.demand(job.status.attempt == 1, "the job completed by its first attempt", describe(job.status))
    await stage.works("still here")
    opened = len(stage.journal.introductions)
    stage.demand(opened == 2, "two streams in all: a replaced one is not opened again", f"{opened} streams")


async def reconnect_pace(stage: Stage) -> None:
    """While it is refused it tries again, but with a pause between tries."""
    await stage.start_worker()

    async def nobody_is_let_in(frame: Frame) -> Fate:
        return Fate.CUT if frame.hello is not None or frame.pull is not None else Fate.FORWARD

    stage.fault = nobody_is_let_in
    before = len(stage.journal.calls)
    stage.proxy.cut("Work")
    stage.proxy.cut("PullJobs")
    seconds = 3.0
    await stage.pause(seconds)
    tries = len(stage.journal.calls) - before
    most = round(seconds * _TRIES_PER_SECOND)
    stage.demand(1 <= tries <= most, f"between 1 and {most} tries in {seconds:g} s", f"{tries} tries")
    stage.fault = pass_all
    await stage.works("still here")


async def _demand_named(stage: Stage, *tokens: bytes) -> None:
    """Demand that the worker opens a second stream, as the same instance, that names these leases."""
    await stage.until(
        lambda: len(stage.journal.introductions) > 1,
        "the worker opens another stream",
        lambda: "no second hello",
    )
    first, second = (each.hello for each in stage.journal.introductions[:2])
    same = (first.worker_id, first.instance_id) == (second.worker_id, second.instance_id)
    stage.demand(same, "the worker_id and instance_id of its first stream", f"{second.worker_id} {second.instance_id}")
    missing = [token for token in tokens if token not in second.held_lease_tokens]
    stage.demand(
        not missing,
        f"its {len(tokens)} leases in hello.held_lease_tokens",
        f"{len(missing)} of them missing among {len(second.held_lease_tokens)}",
    )


def _add_unknown(message: Message) -> None:
    """Give a message, and every message in it, fields that no generated code knows."""
    for field, value in message.ListFields():
        inner = field.message_type
        if inner is None or inner.full_name.startswith("google.") or inner.GetOptions().map_entry:
            continue
        for each in value if field.is_repeated else [value]:
            _add_unknown(each)
    message.MergeFromString(_UNKNOWN_FIELDS)
