"""The lease verb: choosing the next jobs of some lanes, leasing them, and what a lease says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jobwire_server.domain.fairness import Share, order_of_service
from jobwire_server.domain.job import Content, State
from jobwire_server.domain.lifecycle import Event, step
from jobwire_server.store.base import Lane, Lease, LeaseRequest
from jobwire_server.store.listing import FirstRow
from jobwire_server.store.rows import content_of
from jobwire_server.store.verbs.intent import Intent
from jobwire_server.store.verbs.transaction import Transaction

_Candidate = list[int]
"""A job that may be leased: priority (negated), due time, key, bytes of payload. They sort in the order of service."""


def lease(transaction: Transaction, intents: Sequence[Intent]) -> None:
    """Apply the lease requests of a group, one after the other: the second sees what the first took."""
    for intent in intents:
        intent.answer = _lease(transaction, intent.argument)


def _lease(transaction: Transaction, request: LeaseRequest) -> list[Lease]:
    by_lane = _candidates(transaction, request)
    keys = _within_bytes(_choose(by_lane, request), request.max_bytes)
    if len(keys) == sum(map(len, by_lane.values())):
        # All of them are taken: no lane that had fewer than were asked for holds any more, so nobody need come for it.
        transaction.pending.difference_update(lane for lane, found in by_lane.items() if len(found) < request.limit)
    if not keys:
        return []
    leasing = step(State.PENDING, Event.LEASE)
    changed, rows = transaction.lease(
        keys,
        base=transaction.take_revisions(len(keys)),
        now=transaction.now_us,
        state=leasing.to,
        attempt_step=leasing.attempt,
        fence_step=leasing.fence,
        lease_us=request.lease_us,
        grace_us=transaction.settings.report_grace_us,
        transport=request.owner.transport,
        instance_id=request.owner.instance_id,
        worker_id=request.owner.worker_id,
    )
    if changed > len(keys):
        raise AssertionError(f"{changed} jobs were leased where {len(keys)} had been chosen")
    return [_lease_of(transaction.row, row, transaction.now_us, full=True) for row in rows]


def _candidates(transaction: Transaction, request: LeaseRequest) -> dict[Lane, list[_Candidate]]:
    """The next jobs of each lane, as many as are asked for in all."""
    by_lane: dict[Lane, list[_Candidate]] = {}
    for lane in request.lanes:
        if lane not in by_lane:
            queue, kind = lane
            found = transaction.one(
                "claim_candidates", queue=queue, type=kind, limit=request.limit, now=transaction.now_us
            )
            by_lane[lane] = json.loads(found)
    return by_lane


def _choose(by_lane: Mapping[Lane, list[_Candidate]], request: LeaseRequest) -> list[_Candidate]:
    """The next jobs over all lanes, in order, within the limits of the request and of its shares."""
    if request.shares:
        return _in_turn(by_lane, request)
    candidates = [candidate for found in by_lane.values() for candidate in found]
    if len(by_lane) > 1:
        candidates.sort()
    return candidates[: request.limit]


def _in_turn(by_lane: Mapping[Lane, list[_Candidate]], request: LeaseRequest) -> list[_Candidate]:
    by_queue: dict[str, list[_Candidate]] = {}
    for lane, found in by_lane.items():
        by_queue.setdefault(lane.queue, []).extend(found)
    shares = {share.queue: Share(share.weight, share.turn, share.limit) for share in request.shares}
    available = {queue: len(candidates) for queue, candidates in by_queue.items()}
    next_of = {queue: iter(sorted(candidates)) for queue, candidates in by_queue.items()}
    return [next(next_of[queue]) for queue in order_of_service(available, shares, request.limit)]


def _within_bytes(candidates: Sequence[_Candidate], max_bytes: int) -> list[int]:
    """Keys of the candidates up to the one that would exceed the bound, but of one at least."""
    size = 0
    for count, (_, _, _, payload) in enumerate(candidates):
        size += payload
        if count and size > max_bytes:
            candidates = candidates[:count]
            break
    return [key for _, _, key, _ in candidates]


def read_leases(first_row: FirstRow, keys: Sequence[int], now_us: int, *, full: bool = True) -> list[Lease]:
    """What the store says of these leased jobs, in order; payload and checkpoint only when `full`."""
    found = first_row("read_leases", keys=json.dumps(keys), full=full)
    rows = json.loads(found[0]) if found else ()
    return [_lease_of(first_row, row, now_us, full=full) for row in rows]


def _lease_of(first_row: FirstRow, row: list[Any], now_us: int, *, full: bool) -> Lease:
    (
        key, tenant, job_id, queue, kind, attempt, max_attempts, fence, lease_expire_us, timeout_us, expire_us,
        priority, create_us, headers, labels, losses, checkpointed, form, payload_type, encoding, size, payload,
    ) = row  # fmt: skip
    content: Content | None = None
    if full and form is not None:
        data = bytes.fromhex(payload) if payload or not size else _apart(first_row, key)
        content = Content(data, payload_type or "", encoding or "", form == 1)
    return Lease(
        key, tenant, job_id, queue, kind, attempt, max_attempts, fence, content,
        json.loads(headers) if headers else {}, max(0, lease_expire_us - now_us), timeout_us,
        None if expire_us is None else expire_us - now_us, priority, create_us,
        json.loads(labels) if labels else {}, _checkpoint(first_row, key) if full and checkpointed else None,
        losses, lease_expire_us,
    )  # fmt: skip


def _apart(first_row: FirstRow, key: int) -> bytes:
    found = first_row("read_content", id=2 * key)
    if found is None:
        raise AssertionError("a payload that stands apart is not there")
    return bytes(found[0])


def _checkpoint(first_row: FirstRow, key: int) -> Content | None:
    found = first_row("read_checkpoint", key=key)
    if found is None:
        raise AssertionError("a job's checkpoint is not there")
    form, kind, encoding, data = found
    return content_of(form, kind, encoding, bytes(data))
