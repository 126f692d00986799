"""What the reference worker does with each payload of docs/reference/conformance.md."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from google.protobuf.duration_pb2 import Duration

from jobwire.v1 import job_pb2, job_service_pb2
from jobwire.v1 import worker_service_pb2 as pb

PROGRESS_SECONDS = 0.1


class Stop(Exception):
    """The handler has to stop. The argument is the outcome to report, None = none."""


class RunLike(Protocol):
    """What a verb needs of a run."""

    assignment: pb.Assignment
    token: bytes

    async def sleep(self, seconds: float) -> None:
        """Wait; raises Stop when told to stop."""


class WorkerLike(Protocol):
    """What a verb needs of the worker."""

    queue: str

    def send(self, *items: pb.Outcome | pb.LeaseUpdate) -> None:
        """Put items on their way to the server."""


async def echo(_worker: WorkerLike, _run: RunLike, payload: Any) -> pb.Outcome:
    return success(payload["value"])


async def fail(_worker: WorkerLike, _run: RunLike, _payload: Any) -> pb.Outcome:
    return failure("Boom", "on purpose")


async def fail_for_good(_worker: WorkerLike, _run: RunLike, _payload: Any) -> pb.Outcome:
    return failure("Boom", "on purpose", retryable=False)


async def sleep(_worker: WorkerLike, run: RunLike, payload: Any) -> pb.Outcome:
    await run.sleep(payload["seconds"])
    return success({"slept": payload["seconds"]})


async def progress(worker: WorkerLike, run: RunLike, payload: Any) -> pb.Outcome:
    steps = payload["steps"]
    for step in range(1, steps + 1):
        percent, message = 100 * step / steps, f"step {step} of {steps}"
        worker.send(pb.LeaseUpdate(lease_token=run.token, progress_percent=percent, progress_message=message))
        await run.sleep(PROGRESS_SECONDS)
    return success({"steps": steps})


async def release(_worker: WorkerLike, run: RunLike, _payload: Any) -> pb.Outcome:
    fence = run.assignment.fence
    return pb.Outcome(release=pb.Release(reason="asked")) if fence == 1 else success({"fence": fence})


async def retry_after(_worker: WorkerLike, run: RunLike, payload: Any) -> pb.Outcome:
    attempt = run.assignment.attempt
    return failure("Boom", "later", delay=payload["seconds"]) if attempt == 1 else success({"attempt": attempt})


async def checkpoint(worker: WorkerLike, run: RunLike, _payload: Any) -> pb.Outcome:
    job = run.assignment
    if job.attempt > 1:
        return success(json.loads(job.checkpoint.text or job.checkpoint.data or "null"))
    worker.send(pb.LeaseUpdate(lease_token=run.token, checkpoint=encoded({"i": 7})))
    return failure("Boom", "after a checkpoint")


async def follow_up(worker: WorkerLike, _run: RunLike, payload: Any) -> pb.Outcome:
    spec = job_pb2.JobSpec(queue=worker.queue, type=payload["type"], payload=encoded(payload["value"]))
    return pb.Outcome(success=pb.Success(follow_ups=[job_service_pb2.SubmitJobRequest(spec=spec)]))


async def big(_worker: WorkerLike, _run: RunLike, payload: Any) -> pb.Outcome:
    return success("x" * payload["bytes"])


VERBS: Mapping[str, Callable[[WorkerLike, RunLike, Any], Awaitable[pb.Outcome]]] = {
    verb.__name__: verb
    for verb in (echo, fail, fail_for_good, sleep, progress, release, retry_after, checkpoint, follow_up, big)
}


def encoded(value: Any) -> job_pb2.Payload:
    """JSON, in the arm for text."""
    return job_pb2.Payload(content_type="application/json", text=json.dumps(value, ensure_ascii=False))


def success(value: Any) -> pb.Outcome:
    """It worked."""
    return pb.Outcome(success=pb.Success(result=encoded(value)))


def failure(kind: str, message: str, *, retryable: bool = True, delay: float | None = None) -> pb.Outcome:
    """It did not."""
    outcome = pb.Outcome(failure=pb.Failure(error=job_pb2.JobError(type=kind, message=message, retryable=retryable)))
    if delay is not None:
        pause = Duration()
        pause.FromNanoseconds(round(delay * 1e9))
        outcome.failure.retry_delay.CopyFrom(pause)
    return outcome
