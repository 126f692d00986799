"""Points about programs that submit a job and watch it to its end. The tool itself is the worker here."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration

from jobwire.conformance.frames import Fate, Frame, Sender
from jobwire.conformance.proxy import pass_all
from jobwire.conformance.stage import CONNECT_SECONDS, JOB_TYPE, Stage
from jobwire.v1 import job_pb2, job_service_pb2
from jobwire.v1 import worker_service_pb2 as worker

_VALUE: Final = {"text": "naïve ✓", "numbers": [1, 2.5, None]}
_WATCHING: Final = frozenset({"WatchJob", "WatchJobs", "GetJob"})
"""Calls by which a program may learn how a job goes on."""
_UNKNOWN_STATE: Final = 77
_LEASE_SECONDS: Final = 60


async def result(stage: Stage) -> None:
    """The job is submitted as it was told, and its result printed."""
    lease = await _submitted(stage)
    stage.demand(lease.type == JOB_TYPE, f"the type {JOB_TYPE!r}", repr(lease.type))
    payload = lease.payload.text or lease.payload.data.decode()
    stage.demand(json.loads(payload) == _VALUE, f"the payload {_VALUE!r}", payload)
    await _complete(stage, lease)
    await _demand_printed(stage)


async def submit_once(stage: Stage) -> None:
    """A submit whose answer was lost is repeated with the same request_id: there is one job, not two."""

    async def first_answer_is_lost(frame: Frame) -> Fate:
        if frame.sender is Sender.PROGRAM or frame.call.name not in {"SubmitJob", "BatchSubmitJobs"}:
            return Fate.FORWARD
        stage.fault = pass_all
        return Fate.CUT

    stage.fault = first_answer_is_lost
    await _complete(stage, await _submitted(stage))
    await _demand_printed(stage)
    created = len({event.job_id for event in await stage.events()})
    stage.demand(created == 1, "one job in the queue", f"{created}")


async def watch_cut(stage: Stage) -> None:
    """A watch that is cut while the job runs is opened again, as often as it takes."""
    lease = await _submitted(stage)
    for times in (1, 2, 3):
        await _watched(stage, times)
        for name in _WATCHING:
            stage.proxy.cut(name)
    await _watched(stage, 4)
    await _complete(stage, lease)
    await _demand_printed(stage)


async def end_while_cut(stage: Stage) -> None:
    """A job that ends while nobody is connected is seen to have ended."""
    lease = await _submitted(stage)
    await _watched(stage, 1)
    await stage.proxy.close()
    await _complete(stage, lease)
    await stage.proxy.open()
    await _demand_printed(stage)


async def server_killed(stage: Stage) -> None:
    """`kill -9` of the server, and a new start under the same address, do not part it from its job."""
    lease = await _submitted(stage)
    await _watched(stage, 1)
    await stage.server.end(signal.SIGKILL)
    await stage.proxy.close()
    await stage.server.start()
    await stage.proxy.open()
    await _complete(stage, lease)
    await _demand_printed(stage)


async def failed(stage: Stage) -> None:
    """A job that failed gives exit code 3, and prints no result."""
    lease = await _submitted(stage)
    error = job_pb2.JobError(type="Boom", message="on purpose", retryable=False)
    await _report(stage, worker.Outcome(lease_token=lease.lease_token, failure=worker.Failure(error=error)))
    await _demand_exit(stage, 3)


async def cancelled(stage: Stage) -> None:
    """A job that was cancelled gives exit code 4, and prints no result."""
    lease = await _submitted(stage)
    await stage.cancel(lease.job_id, force=True)
    await _demand_exit(stage, 4)


async def unknown_state(stage: Stage) -> None:
    """A state that a newer server may have is not taken for an end."""

    async def the_server_is_newer(frame: Frame) -> Fate:
        message = frame.message
        statuses: list[job_pb2.JobStatus] = []
        match message:
            case job_service_pb2.WatchJobResponse():
                statuses = [message.status]
            case job_service_pb2.GetJobResponse():
                statuses = [message.job.status]
            case job_service_pb2.WatchJobsResponse():
                statuses = [event.status for event in message.events]
            case _:
                pass
        for status in statuses:
            if status.state == job_pb2.JOB_STATE_PROCESSING:
                frame.edit()
                status.state = _UNKNOWN_STATE  # type: ignore[assignment]  # numbers that are not named yet are legal
        return Fate.FORWARD

    stage.fault = the_server_is_newer
    lease = await _submitted(stage)
    await _watched(stage, 1)
    await _complete(stage, lease)
    await _demand_printed(stage)


async def _submitted(stage: Stage) -> worker.Assignment:
    """Start the program, and take the job that it submits."""
    await stage.run_submitter(_VALUE)
    request = worker.PullJobsRequest(
        worker_id="conformance",
        queues=[worker.QueueSubscription(queue=stage.queue)],
        max_jobs=1,
        wait_timeout=Duration(seconds=5),
        lease_duration=Duration(seconds=_LEASE_SECONDS),
    )
    async with stage.waiting(
        f"a job in the queue {stage.queue!r}", lambda: f"calls: {_calls(stage)}", within=CONNECT_SECONDS
    ):
        while True:
            answer = await stage.call_worker_service("PullJobs", request)
            if answer.assignments:
                lease: worker.Assignment = answer.assignments[0]
                return lease


async def _complete(stage: Stage, lease: worker.Assignment) -> None:
    text = json.dumps(_VALUE, ensure_ascii=False)
    success = worker.Success(result=job_pb2.Payload(content_type="application/json", text=text))
    await _report(stage, worker.Outcome(lease_token=lease.lease_token, success=success))


async def _report(stage: Stage, outcome: worker.Outcome) -> None:
    await stage.call_worker_service("ReportOutcomes", worker.ReportOutcomesRequest(outcomes=[outcome]))


async def _watched(stage: Stage, times: int) -> None:
    """Wait until the program has begun to watch so many times, and is at it."""

    def watches() -> Mapping[int, Any]:
        return {call.number: call for call in stage.journal.calls if call.name in _WATCHING}

    await stage.until(
        lambda: len(watches()) >= times and any(call.end is None for call in watches().values()),
        f"the program watches its job, for the {times}. time",
        lambda: f"calls: {_calls(stage)}",
    )


async def _demand_printed(stage: Stage) -> None:
    printed = await _demand_exit(stage, 0)
    try:
        value = json.loads(printed)
    except ValueError:
        value = printed
    stage.demand(value == _VALUE, f"{_VALUE!r} on stdout, as JSON", printed[:200] or "nothing")


async def _demand_exit(stage: Stage, wanted: int) -> str:
    assert stage.program is not None
    async with stage.waiting(
        f"the program ends with exit code {wanted}", lambda: f"it still runs; calls: {_calls(stage)}"
    ):
        code = await stage.program.ended()
    stage.demand(code == wanted, f"exit code {wanted}", f"exit code {code}")
    printed = await stage.program.output()
    stage.demand(wanted == 0 or not printed.strip(), "nothing on stdout", printed[:200])
    return printed


def _calls(stage: Stage) -> str:
    return ", ".join(call.name for call in stage.journal.calls) or "none"
