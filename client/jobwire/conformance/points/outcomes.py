"""Points about what a worker asks for, and what it reports."""

from __future__ import annotations

from typing import Any, Final

from jobwire.conformance.stage import JOB_TYPE, Stage, describe, result_of, retry, state_word
from jobwire.v1 import job_pb2
from jobwire.v1 import worker_service_pb2 as worker

_VALUES: Final[tuple[Any, ...]] = (
    "Ada", "", 'naïve ✓ 𝄞 " \\ \n\t', 42, -1.5, 0, True, None, [], {}, {"a": [1, {"b": None}], "ключ": "значение"},
)  # fmt: skip
_NEVER_SECONDS: Final = 3600.0
_PAYLOAD_LIMIT: Final = 1 << 20


async def introduction(stage: Stage) -> None:
    """It asks for what it was told to ask for, and for no more."""
    await stage.start_worker(slots=3)
    asked = stage.journal.introductions[0].hello if stage.uses_stream else stage.journal.pulls[0]
    expected = f"worker-of-{stage.name}"
    stage.demand(asked.worker_id == expected, f"worker_id {expected!r}", repr(asked.worker_id))
    queues = [subscription.queue for subscription in asked.queues]
    stage.demand(queues == [stage.queue], f"the queue {stage.queue!r} alone", repr(queues))
    stage.demand(list(asked.types) == [JOB_TYPE], f"the type {JOB_TYPE!r} alone", repr(list(asked.types)))
    if isinstance(asked, worker.WorkerHello):
        length = len(asked.instance_id)
        stage.demand(1 <= length <= 64, "an instance_id of 1 to 64 characters", f"{length} characters")
    await stage.works("hello")
    # A stream may begin with 0 and open its window later.
    sizes = stage.journal.windows or [pull.max_jobs for pull in stage.journal.pulls]
    stage.demand(max(sizes) == 3, "a window (or max_jobs) of 3, as many as slots", f"{max(sizes)} at most")


async def subscription(stage: Stage) -> None:
    """It takes jobs of its own queue and type only."""
    await stage.start_worker()
    other_queue = await stage.submit({"do": "echo", "value": 1}, queue=f"{stage.queue}.other")
    other_type = await stage.submit({"do": "echo", "value": 1}, type="conformance.other")
    await stage.works("first")
    await stage.works("second")
    for job_id, what in ((other_queue, "queue"), (other_type, "type")):
        status = (await stage.get(job_id)).status
        stage.demand(state_word(status) == "PENDING", f"a job of another {what} left alone", describe(status))


async def echo(stage: Stage) -> None:
    """What JSON can say comes back as it went, from either arm of the payload."""
    await stage.start_worker()
    for as_text in (True, False):
        ids = await stage.submit_all([{"do": "echo", "value": value} for value in _VALUES], as_text=as_text)
        for value, job in zip(_VALUES, await stage.all_reach(ids, "COMPLETED"), strict=True):
            if value is None and not job.status.HasField("result"):
                continue
            _demand_result(stage, job, value)
            kind = job.status.result.content_type
            stage.demand(kind.startswith("application/json"), "content_type application/json", repr(kind))


async def failure(stage: Stage) -> None:
    """A failure that may be retried is retried, as often as the policy says."""
    await stage.start_worker()
    job_id = await stage.submit({"do": "fail"}, retry_policy=retry(attempts=3))
    job = await stage.reaches(job_id, "FAILED")
    _demand_attempts(stage, job, 3)
    kind = job.status.last_error.type
    stage.demand(kind == "Boom", "an error of type 'Boom'", repr(kind))


async def failure_for_good(stage: Stage) -> None:
    """A failure that may not be retried ends the job."""
    await stage.start_worker()
    job_id = await stage.submit({"do": "fail_for_good"})
    job = await stage.reaches(job_id, "FAILED")
    _demand_attempts(stage, job, 1)
    stage.demand(not job.status.last_error.retryable, "retryable = false", "retryable = true")


async def retry_delay(stage: Stage) -> None:
    """A failure's own delay overrides the policy's."""
    await stage.start_worker()
    job_id = await stage.submit(
        {"do": "retry_after", "seconds": 0.5}, retry_policy=retry(backoff_seconds=_NEVER_SECONDS)
    )
    job = await stage.reaches(job_id, "COMPLETED")
    _demand_result(stage, job, {"attempt": 2})
    first, second = job.attempts
    waited = second.start_time.ToNanoseconds() - first.finish_time.ToNanoseconds()
    stage.demand(waited >= 0.5e9, "attempt 2 at least 0.5 s after attempt 1", f"{waited / 1e9:.3f} s")


async def release(stage: Stage) -> None:
    """A job that is given back costs no attempt, and comes again with a higher fence."""
    await stage.start_worker()
    job_id = await stage.submit({"do": "release"}, retry_policy=retry(attempts=1))
    job = await stage.reaches(job_id, "COMPLETED")
    fence = stage.journal.leases_of(job_id)[-1].fence
    _demand_result(stage, job, {"fence": fence})
    stage.demand(fence > 1, "a second lease", "the job was completed under its first lease")
    _demand_attempts(stage, job, 1)


async def progress(stage: Stage) -> None:
    """Progress reaches the server while the job runs."""
    await stage.start_worker()
    job_id = await stage.submit({"do": "progress", "steps": 8})
    job = await stage.reaches(job_id, "COMPLETED")
    _demand_result(stage, job, {"steps": 8})
    (lease,) = stage.journal.leases_of(job_id)
    reports = stage.journal.progress[lease.lease_token]
    percents = [update.progress_percent for update in reports]
    stage.demand(
        len(set(percents)) >= 2 and percents == sorted(percents), "at least two rising percentages", repr(percents)
    )
    wrong = [
        u.progress_message for u in reports if u.progress_message != f"step {round(u.progress_percent / 12.5)} of 8"
    ]
    stage.demand(not wrong, "messages like 'step 3 of 8'", repr(wrong[:3]))


async def checkpoint(stage: Stage) -> None:
    """What an attempt saves is handed to the next."""
    await stage.start_worker()
    job_id = await stage.submit({"do": "checkpoint"})
    job = await stage.reaches(job_id, "COMPLETED")
    _demand_result(stage, job, {"i": 7})
    _demand_attempts(stage, job, 2)


async def follow_up(stage: Stage) -> None:
    """A success brings its follow-up along, and it runs."""
    await stage.start_worker()
    inner = {"do": "echo", "value": "after"}
    job_id = await stage.submit({"do": "follow_up", "type": JOB_TYPE, "value": inner})
    await stage.reaches(job_id, "COMPLETED")
    others = {event.job_id for event in await stage.events()} - {job_id}
    stage.demand(len(others) == 1, "one job more in the queue", f"{len(others)} more")
    (follower,) = others
    _demand_result(stage, await stage.reaches(follower, "COMPLETED"), "after")


async def big_payload(stage: Stage) -> None:
    """Payloads and results as big as the server takes pass both ways."""
    await stage.start_worker()
    frame = len('{"do": "echo", "value": ""}')
    value = "x" * (_PAYLOAD_LIMIT - frame)
    for as_text in (True, False):
        job_id = await stage.submit({"do": "echo", "value": value}, as_text=as_text)
        job = await stage.reaches(job_id, "COMPLETED")
        stage.demand(result_of(job) == value, f"the {len(value)} characters", "other ones")
    job_id = await stage.submit({"do": "big", "bytes": _PAYLOAD_LIMIT - 2})
    job = await stage.reaches(job_id, "COMPLETED")
    stage.demand(result_of(job) == "x" * (_PAYLOAD_LIMIT - 2), f"{_PAYLOAD_LIMIT - 2} times 'x'", "something else")


async def result_too_big(stage: Stage) -> None:
    """A result that the server refuses becomes a failure, and the worker goes on."""
    await stage.start_worker(slots=1)
    job_id = await stage.submit({"do": "big", "bytes": _PAYLOAD_LIMIT + 1000})
    job = await stage.reaches(job_id, "FAILED")
    _demand_attempts(stage, job, 1)
    (lease,) = stage.journal.leases_of(job_id)
    refused = [sent for sent in stage.journal.outcomes[lease.lease_token] if sent.outcome.HasField("success")]
    stage.demand(len(refused) <= 1, "the refused result sent once", f"{len(refused)} times")
    await stage.works("still here")


async def bad_payload(stage: Stage) -> None:
    """Payloads that nobody can make sense of fail for good, and the worker goes on."""
    await stage.start_worker()
    nonsense: list[dict[str, Any] | bytes] = [
        b"\xff\x00{",
        b"",
        b"[1, 2",
        {"do": "nothing that is known"},
        {"no": "verb"},
        b"7",
    ]
    for job in await stage.all_reach(await stage.submit_all(nonsense), "FAILED"):
        _demand_attempts(stage, job, 1)
    await stage.works("still here")


async def many_jobs(stage: Stage) -> None:
    """Many jobs, of every kind of outcome, all end as they should."""
    await stage.start_worker(slots=8)
    kinds: list[tuple[dict[str, Any], str, int, Any]] = [
        ({"do": "echo", "value": "a"}, "COMPLETED", 1, "a"),
        ({"do": "sleep", "seconds": 0.01}, "COMPLETED", 1, {"slept": 0.01}),
        ({"do": "fail"}, "FAILED", 2, None),
        ({"do": "echo", "value": {"b": [1]}}, "COMPLETED", 1, {"b": [1]}),
        ({"do": "fail_for_good"}, "FAILED", 1, None),
        ({"do": "retry_after", "seconds": 0.01}, "COMPLETED", 2, {"attempt": 2}),
        ({"do": "checkpoint"}, "COMPLETED", 2, {"i": 7}),
        ({"do": "big", "bytes": 3}, "COMPLETED", 1, "xxx"),
        ({"do": "release"}, "COMPLETED", 1, ...),
    ]
    plan = [kinds[number % len(kinds)] for number in range(stage.jobs)]
    ids = await stage.submit_all([payload for payload, _, _, _ in plan], retry_policy=retry(attempts=2))
    for job_id, (_, word, attempts, value) in zip(ids, plan, strict=True):
        job = await stage.reaches(job_id, word)
        _demand_attempts(stage, job, attempts)
        if word == "COMPLETED" and value is not ...:
            _demand_result(stage, job, value)


def _demand_result(stage: Stage, job: job_pb2.Job, value: object) -> None:
    result = result_of(job)
    # In Python, unlike in JSON, 0 == False and 1 == True.
    same = result == value and isinstance(result, bool) == isinstance(value, bool)
    stage.demand(same, f"the result {value!r}", repr(result))


def _demand_attempts(stage: Stage, job: job_pb2.Job, attempts: int) -> None:
    stage.demand(job.status.attempt == attempts, f"{attempts} attempts", describe(job.status))
