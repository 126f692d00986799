"""Points about beginnings and ends: of the worker, and of the server."""

from __future__ import annotations

import signal
from typing import Final

from jobwire.conformance.processes import LEASE_SECONDS
from jobwire.conformance.stage import PATIENCE_SECONDS, Stage, describe, result_of, state_word

_SOON_SECONDS: Final = 1.5


async def late_server(stage: Stage) -> None:
    """A worker that is started before the server waits for it."""
    await stage.proxy.close()
    await stage.start_worker(is_expected_to_connect=False)
    await stage.pause(LEASE_SECONDS)
    await stage.proxy.open()
    await stage.works("there you are")


async def idle_drain(stage: Stage) -> None:
    """SIGTERM ends a worker that has nothing to do: with exit code 0, and a stream with a goodbye."""
    await stage.start_worker()
    await stage.works("before")
    await _stop(stage)
    if stage.uses_stream:
        windows = stage.journal.windows
        stage.demand(windows[-1] == 0, "max_in_flight 0 before it leaves", f"windows of its stream: {windows}")
        last = stage.journal.streams()[-1]
        stage.demand(last.is_half_closed, "the stream half-closed", f"its end was {last.end}")


async def finishing_drain(stage: Stage) -> None:
    """At SIGTERM what ends soon is finished, and nothing new is begun."""
    await stage.start_worker(slots=1)
    running, *waiting = await stage.submit_all([{"do": "sleep", "seconds": _SOON_SECONDS}] * 6)
    token = await stage.held(running)
    await _stop(stage)
    _demand_outcome(stage, token, "success")
    job = await stage.reaches(running, "COMPLETED")
    stage.demand(job.status.attempt == 1, "the running job completed by its first attempt", describe(job.status))
    await _demand_untouched(stage, *waiting)


async def releasing_drain(stage: Stage) -> None:
    """At SIGTERM what would run on for long is given back at once, which costs no attempt."""
    await stage.start_worker(slots=2)
    ids = await stage.submit_all([{"do": "sleep", "seconds": 600}] * (2 if stage.uses_stream else 1))
    tokens = [await stage.held(job_id) for job_id in ids]
    await _stop(stage)
    for token in tokens:
        _demand_outcome(stage, token, "release")
    await _demand_untouched(stage, *ids)


async def killed_server(stage: Stage) -> None:
    """`kill -9` of the server in the middle of many jobs, and a new start under the same address: all end well."""
    await stage.start_worker(slots=8)
    ids = await _submit_numbered(stage)
    await _until_some_are_done(stage)
    await stage.server.end(signal.SIGKILL)
    await _restart(stage)
    await _demand_numbered(stage, ids)


async def drained_server(stage: Stage) -> None:
    """SIGTERM of the server in the middle of many jobs, and a new start under the same address: all end well."""
    await stage.start_worker(slots=8)
    ids = await _submit_numbered(stage)
    await _until_some_are_done(stage)
    await stage.server.end(signal.SIGTERM)
    await _restart(stage)
    await _demand_numbered(stage, ids)


async def _restart(stage: Stage) -> None:
    await stage.proxy.close()
    await stage.server.start()
    await stage.proxy.open()


async def _submit_numbered(stage: Stage) -> list[str]:
    return list(await stage.submit_all([{"do": "echo", "value": number} for number in range(stage.jobs)]))


async def _until_some_are_done(stage: Stage) -> None:
    some = stage.jobs // 4
    await stage.until(
        lambda: len(stage.journal.acks) >= some,
        f"the first {some} of {stage.jobs} jobs are done",
        lambda: f"{len(stage.journal.acks)} outcomes with an answer",
        within=4 * PATIENCE_SECONDS,
    )


async def _demand_numbered(stage: Stage, ids: list[str]) -> None:
    for number, job in enumerate(await stage.all_reach(ids, "COMPLETED")):
        stage.demand(result_of(job) == number, f"the result {number} of job {job.job_id}", repr(result_of(job)))
        stage.demand(job.status.attempt <= 2, "at most one attempt lost to the cut", describe(job.status))


async def _stop(stage: Stage) -> None:
    began = stage.clock.monotonic()
    code = await stage.stop_worker()
    seconds = stage.clock.monotonic() - began
    stage.demand(code == 0, "exit code 0 after SIGTERM", f"exit code {code}, after {seconds:.1f} s")


def _demand_outcome(stage: Stage, token: bytes, kind: str) -> None:
    sent = [str(each.outcome.WhichOneof("outcome")) for each in stage.journal.outcomes[token]]
    stage.demand(sent[-1:] == [kind], f"the outcome {kind.title()}", ", ".join(sent) or "no outcome")


async def _demand_untouched(stage: Stage, *ids: str) -> None:
    for job_id in ids:
        status = (await stage.get(job_id)).status
        held = f"job {job_id} PENDING, at no cost"
        stage.demand(state_word(status) == "PENDING" and status.attempt == 0, held, describe(status))
