"""What a worker may say of itself: the tables of `WorkerHello` and `PullJobsRequest`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from jobwire_server.domain.errors import Violation
from jobwire_server.domain.limits import DEFAULT_LIMITS, Limits
from jobwire_server.domain.rules import (
    QUEUE_SENTENCE,
    Rule,
    broken,
    collect,
    line_ok,
    line_sentence,
    prefix_of,
    queue_ok,
    token_ok,
)

ANY_QUEUE: Final = "*"


class QueueFields(NamedTuple):
    """One queue of a worker."""

    queue: str
    weight: int
    max_in_flight: int


class WorkerFields(NamedTuple):
    """What a worker says, whichever path it takes. Fields that its path does not have are left at what is right."""

    worker_id: str
    queues: Sequence[QueueFields]
    types: Sequence[str]
    instance_id: str = "-"
    max_in_flight: int = 0
    max_in_flight_bytes: int = 0
    lease_us: int = 0
    held: int = 0
    user_agent: str = ""
    max_jobs: int = 1
    wait_us: int = 0
    request_id: str = ""


@lru_cache(maxsize=8)
def _rules(limits: Limits) -> tuple[Rule[WorkerFields], ...]:
    window, bounds = limits.max_in_flight, limits
    return (
        Rule(
            "worker_id",
            lambda w: line_ok(w.worker_id, bounds.worker_id_chars, 1),
            line_sentence(bounds.worker_id_chars),
        ),
        Rule(
            "instance_id",
            lambda w: bool(w.instance_id) and token_ok(w.instance_id, bounds.instance_id_chars),
            f"must be 1 to {bounds.instance_id_chars} printable ASCII characters, random per process start",
        ),
        Rule(
            "queues",
            lambda w: 1 <= len(w.queues) <= bounds.worker_queues,
            f"must name 1 to {bounds.worker_queues} queues; '*' stands for every queue",
        ),
        Rule(
            "queues",
            lambda w: len({each.queue for each in w.queues}) == len(w.queues),
            "must name each queue once",
        ),
        Rule(
            "types",
            lambda w: len(w.types) <= bounds.worker_types,
            f"must hold at most {bounds.worker_types} types; none means any",
        ),
        Rule("max_in_flight", lambda w: 0 <= w.max_in_flight <= window, f"must be 0 to {window}"),
        Rule("max_in_flight_bytes", lambda w: w.max_in_flight_bytes >= 0, "must not be negative"),
        Rule("lease_duration", lambda w: w.lease_us >= 0, "must not be negative"),
        Rule("held_lease_tokens", lambda w: w.held <= window, f"must hold at most {window} tokens"),
        Rule(
            "user_agent",
            lambda w: line_ok(w.user_agent, bounds.user_agent_chars),
            f"must be at most {bounds.user_agent_chars} characters without control characters",
        ),
        Rule("max_jobs", lambda w: 0 <= w.max_jobs <= bounds.pull_jobs, f"must be 0 to {bounds.pull_jobs}"),
        Rule("wait_timeout", lambda w: w.wait_us >= 0, "must not be negative"),
        Rule(
            "request_id",
            lambda w: token_ok(w.request_id, bounds.request_id_chars),
            f"must be at most {bounds.request_id_chars} printable ASCII characters",
        ),
    )


def check_worker(worker: WorkerFields, path: str = "", limits: Limits = DEFAULT_LIMITS) -> list[Violation]:
    """Check what a worker says of itself; `path` is where it stands, "" or `hello`."""
    return collect(_violations(worker, prefix_of(path), limits))


def _violations(worker: WorkerFields, prefix: str, limits: Limits) -> Iterable[Violation]:
    yield from broken(_rules(limits), worker, prefix)
    for index, (queue, weight, max_in_flight) in enumerate(worker.queues[: limits.worker_queues]):
        at = f"{prefix}queues[{index}]"
        if queue != ANY_QUEUE and not queue_ok(queue):
            yield Violation(f"{at}.queue", f"{QUEUE_SENTENCE}, or be '*'")
        if not 0 <= weight <= limits.queue_weight:
            yield Violation(f"{at}.weight", f"must be 0 (which means 1) to {limits.queue_weight}")
        if not 0 <= max_in_flight <= limits.max_in_flight:
            yield Violation(f"{at}.max_in_flight", f"must be 0 (no bound) to {limits.max_in_flight}")
    for index, name in enumerate(worker.types[: limits.worker_types]):
        if not line_ok(name, limits.type_chars, 1):
            yield Violation(f"{prefix}types[{index}]", line_sentence(limits.type_chars))


def lease_within(wish_us: int, own_us: int, limits: Limits = DEFAULT_LIMITS) -> int:
    """The lease that a worker gets: its wish, held to the range; the server's own when it has none (0)."""
    return min(max(wish_us, limits.min_lease_us), limits.max_lease_us) if wish_us else own_us
