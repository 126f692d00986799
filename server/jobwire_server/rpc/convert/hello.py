"""Who workers say they are."""

from __future__ import annotations

from collections.abc import Iterable

from jobwire.v1 import worker_service_pb2 as pb
from jobwire_server.dispatch.interest import Interest, Terms
from jobwire_server.domain.errors import FieldInvalid, Violation
from jobwire_server.domain.limits import Limits
from jobwire_server.domain.worker_rules import QueueFields, WorkerFields, check_worker
from jobwire_server.rpc.convert.times import duration_us


def hello_fields(hello: pb.WorkerHello, limits: Limits) -> WorkerFields:
    """Read and check a hello. Raises `FieldInvalid`."""
    violations: list[Violation] = []
    fields = WorkerFields(
        worker_id=hello.worker_id,
        queues=_queues(hello.queues),
        types=tuple(hello.types),
        instance_id=hello.instance_id,
        max_in_flight=hello.max_in_flight,
        max_in_flight_bytes=hello.max_in_flight_bytes,
        lease_us=duration_us(hello.lease_duration, "hello.lease_duration", violations),
        held=len(hello.held_lease_tokens),
        user_agent=hello.user_agent,
    )
    return _checked(fields, "hello", violations, limits)


def pull_fields(request: pb.PullJobsRequest, limits: Limits) -> WorkerFields:
    """Read and check a pull. Raises `FieldInvalid`."""
    violations: list[Violation] = []
    fields = WorkerFields(
        worker_id=request.worker_id,
        queues=_queues(request.queues),
        types=tuple(request.types),
        max_jobs=request.max_jobs,
        wait_us=duration_us(request.wait_timeout, "wait_timeout", violations),
        lease_us=duration_us(request.lease_duration, "lease_duration", violations),
        request_id=request.request_id,
    )
    return _checked(fields, "", violations, limits)


def interest_of(fields: WorkerFields) -> Interest:
    """What a worker wants, of fields that were checked."""
    terms = {queue: Terms(weight or 1, max_in_flight or None) for queue, weight, max_in_flight in fields.queues}
    return Interest(fields.types or None, terms)


def _queues(messages: Iterable[pb.QueueSubscription]) -> tuple[QueueFields, ...]:
    return tuple(QueueFields(each.queue, each.weight, each.max_in_flight) for each in messages)


def _checked(fields: WorkerFields, path: str, violations: list[Violation], limits: Limits) -> WorkerFields:
    violations += check_worker(fields, path, limits)
    if violations:
        raise FieldInvalid(violations)
    return fields
