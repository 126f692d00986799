"""What the server tells about itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from jobwire.v1.admin_service_pb2 import GetServerInfoResponse, ListWorkersResponse, RecoveryReport
from jobwire.v1.job_service_pb2 import WatchCursor
from jobwire_server.dispatch.roster import WorkerFacts
from jobwire_server.domain.limits import Limits
from jobwire_server.rpc.convert.times import put_duration, put_time
from jobwire_server.rpc.settings import RecoveryFacts, ServerFacts
from jobwire_server.store.base import Position

MOST_TYPES: Final = 200


def type_capabilities(own: Iterable[str], served: Iterable[str] | None) -> list[str]:
    """`type:NAME` for each type that a worker serves, so that whoever submits another one can be told. None of them
    when some worker takes any type, or when they are too many to list: a part of them would mislead."""
    if served is None:
        return []
    names = {*own, *served}
    return [f"type:{name}" for name in sorted(names)] if len(names) <= MOST_TYPES else []


def server_info_response(
    facts: ServerFacts, limits: Limits, position: Position, *, capabilities: Iterable[str], now_us: int
) -> bytes:
    """Write a GetServerInfoResponse."""
    response = GetServerInfoResponse()
    info = response.server_info
    info.version = facts.version
    info.capabilities.extend(capabilities)
    info.store = facts.store_kind
    info.current.CopyFrom(WatchCursor(epoch=position.epoch, revision=position.revision))
    info.compacted.CopyFrom(WatchCursor(epoch=position.epoch, revision=position.compacted))
    info.max_message_bytes = limits.message_bytes
    info.max_payload_bytes = limits.payload_bytes
    info.max_batch_size = limits.batch_size
    info.max_depth = facts.max_depth
    info.pool_trouble = facts.pool_trouble()
    put_time(info.start_time, facts.start_time_us)
    put_time(info.current_time, now_us)
    if facts.recovery is not None:
        _put_recovery(info.recovery, facts.recovery)
    return response.SerializeToString()


def workers_response(workers: Iterable[WorkerFacts]) -> ListWorkersResponse:
    """Make a ListWorkersResponse, without a token for the next page."""
    response = ListWorkersResponse()
    for facts in workers:
        worker = response.workers.add(
            worker_id=facts.name.worker_id,
            instance_id=facts.name.instance_id,
            user_agent=facts.name.user_agent,
            queues=facts.interest.queue_names,
            max_in_flight=facts.max_in_flight,
            in_flight=facts.in_flight,
            connected=facts.connected,
            types=sorted(facts.interest.types or ()),
        )
        put_time(worker.last_seen_time, facts.last_seen_us)
    return response


def _put_recovery(message: RecoveryReport, recovery: RecoveryFacts) -> None:
    message.returned_count = recovery.returned
    message.still_leased_count = recovery.still_leased
    message.failed_count = recovery.failed
    message.waiting_count = recovery.waiting
    message.retries = recovery.retries
    put_duration(message.duration, recovery.duration_us)
