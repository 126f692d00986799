"""Running what is due: a whole worker, for as long as there is work."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc

from jobwire.errors import WaitTimeout
from jobwire.models import JobState
from jobwire.testing.calls import CallTransport
from jobwire.worker.clock import Clock
from jobwire.worker.handler import Handler
from jobwire.worker.process import check_handlers
from jobwire.worker.runtime import RuntimeSettings, WorkerRuntime

WORKER_ID: Final = "jobwire-testing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What a drain did. Each attempt counts once, so a job that was retried at once counts for both of its attempts."""

    succeeded: int = 0
    """Attempts whose job is COMPLETED."""
    failed: int = 0
    """Attempts whose job is FAILED for good."""
    retried: int = 0
    """Attempts that failed, and whose job waits for the next one."""
    snoozed: int = 0
    """Attempts that were put off by their handler."""
    cancelled: int = 0
    """Attempts whose job is CANCELLED, by its handler or by somebody else."""
    errors: tuple[str, ...] = ()
    """A sentence for each attempt that failed, in order: type of the job, its id, the attempt, the error."""

    @property
    def ran(self) -> int:
        """Attempts in all."""
        return self.succeeded + self.failed + self.retried + self.snoozed + self.cancelled


async def drain(
    channel: grpc.Channel,
    handlers: Mapping[str, Handler[..., Any]],
    *,
    clock: Clock,
    slots: int,
    timeout_seconds: float,
    app_path: str | None,
) -> Drained:
    """Be a worker for these handlers until nothing that they serve is due. Raises WaitTimeout, ArgumentInvalid."""
    check_handlers(handlers)
    transport = CallTransport(channel, clock)
    runtime = WorkerRuntime(
        transport=transport,
        handlers=handlers,
        slots=slots,
        worker_id=WORKER_ID,
        app_path=app_path,
        settings=RuntimeSettings(prefetch=0),
        clock=clock,
    )
    await runtime.start()
    try:
        await runtime.resume()
        try:
            async with asyncio.timeout(timeout_seconds):
                await transport.work_off()
        except TimeoutError:
            still = transport.held
            await runtime.drain(0.0)
            raise WaitTimeout(_overdue(timeout_seconds, [(job.type, job.job_id) for job in still])) from None
    finally:
        await runtime.stop()
    return _drained(transport)


def _drained(transport: CallTransport) -> Drained:
    states = transport.states
    return Drained(
        succeeded=states[JobState.COMPLETED],
        failed=states[JobState.FAILED],
        retried=states[JobState.RETRYING] + states[JobState.PENDING],
        snoozed=transport.snoozed,
        cancelled=states[JobState.CANCELLED],
        errors=tuple(
            f"{job.type} {job.job_id}, attempt {job.attempt}: {failure.error_type}: {failure.message}"
            for job, failure in transport.failures
        ),
    )


def _overdue(seconds: float, jobs: list[tuple[str, str]]) -> str:
    if not jobs:
        return f"drain() found new jobs for {seconds:g} s and gave up. Does a handler submit its own type for ever?"
    names = ", ".join(f"{job_type} {job_id}" for job_type, job_id in jobs[:5])
    return (
        f"drain() gave up after {seconds:g} s, while these ran: {names}. They were told to stop, and given back. "
        "Does a handler wait for a job that needs a slot of its own? drain(slots=2) gives it one."
    )
