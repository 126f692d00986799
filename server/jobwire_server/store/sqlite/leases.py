"""The worker verbs: lease, report, extend."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from jobwire_server.domain.job import Content, State
from jobwire_server.domain.lifecycle import Event, decide, step
from jobwire_server.domain.outcome import Succeeded
from jobwire_server.store.base import (
    Lease,
    LeaseRequest,
    LeaseState,
    LeaseUpdate,
    Report,
    ReportAnswer,
    ReportCode,
)
from jobwire_server.store.sqlite.contents import Contents
from jobwire_server.store.sqlite.moves import Move, apply_moves, read_facts
from jobwire_server.store.sqlite.rows import content_of, state_of
from jobwire_server.store.sqlite.transaction import Transaction
from jobwire_server.store.sqlite.writer import Intent

_LOST = LeaseState(False, False, 0)


def lease(transaction: Transaction, intents: Sequence[Intent]) -> None:
    """Apply the lease requests of a group, one after the other: the second sees what the first took."""
    for intent in intents:
        intent.answer = _lease(transaction, intent.argument)


def _lease(transaction: Transaction, request: LeaseRequest) -> list[Lease]:
    keys = _choose(transaction, request)
    if not keys:
        return []
    leasing = step(State.PENDING, Event.LEASE)
    listed = json.dumps(keys)
    changed = transaction.run(
        "lease_jobs",
        keys=listed,
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
    if changed != len(keys):
        raise AssertionError(f"{changed} jobs were leased where {len(keys)} had been chosen")
    rows = json.loads(transaction.one("read_leases", keys=listed))
    return [_lease_of(transaction, row) for row in rows]


def _choose(transaction: Transaction, request: LeaseRequest) -> list[int]:
    """Keys of the next jobs over all lanes, in order, within both bounds (but one job at least)."""
    candidates: list[list[int]] = []
    for queue, kind in dict.fromkeys(request.lanes):
        found = transaction.one("claim_candidates", queue=queue, type=kind, limit=request.limit, now=transaction.now_us)
        candidates += json.loads(found)
    if len(request.lanes) > 1:
        candidates.sort()
    keys: list[int] = []
    size = 0
    for _, _, key, payload_size in candidates[: request.limit]:
        size += payload_size
        if keys and size > request.max_bytes:
            break
        keys.append(key)
    return keys


def _lease_of(transaction: Transaction, row: list[Any]) -> Lease:
    (
        key, tenant, job_id, queue, kind, attempt, max_attempts, fence, lease_expire_us, timeout_us, expire_us,
        priority, create_us, headers, form, payload_type, encoding, size, payload,
    ) = row  # fmt: skip
    content: Content | None = None
    if form is not None:
        if size > transaction.settings.inline_content_bytes:
            data = bytes(transaction.one("read_content", id=2 * key))
        else:
            data = bytes.fromhex(payload)
        content = content_of(form, payload_type, encoding, data)
    now_us = transaction.now_us
    return Lease(
        key, tenant, job_id, queue, kind, attempt, max_attempts, fence, content, json.loads(headers) if headers else {},
        lease_expire_us - now_us, timeout_us, None if expire_us is None else expire_us - now_us, priority, create_us,
    )  # fmt: skip


def report(transaction: Transaction, intents: Sequence[Intent]) -> None:
    """Apply all reports of a group: successes in one statement, the others through `decide` in another."""
    reports = [one for intent in intents for one in intent.argument]
    answers = _report(transaction, reports)
    position = 0
    for intent in intents:
        count = len(intent.argument)
        intent.answer = answers[position : position + count]
        position += count


def _report(transaction: Transaction, reports: Sequence[Report]) -> list[ReportAnswer]:
    pairs = [(one.key, one.fence) for one in reports]
    current = json.loads(transaction.one("live_attempts", pairs=json.dumps(pairs)))
    first: dict[int, int] = {}
    for index in current:
        first.setdefault(reports[index].key, index)
    live = [reports[index] for index in first.values()]
    ended = _record_successes(transaction, [one for one in live if isinstance(one.outcome, Succeeded)])
    ended.update(_record_others(transaction, [one for one in live if not isinstance(one.outcome, Succeeded)]))
    answers: list[ReportAnswer | None] = [
        ReportAnswer(ReportCode.RECORDED, ended[one.key]) if first.get(one.key) == index else None
        for index, one in enumerate(reports)
    ]
    if None not in answers:
        return answers  # type: ignore[return-value]
    return _answer_stale(transaction, reports, answers)


def _record_successes(transaction: Transaction, reports: Sequence[Report]) -> dict[int, State]:
    if not reports:
        return {}
    contents = Contents(transaction)
    rows: list[tuple[object, ...]] = []
    for key, fence, outcome in reports:
        result = outcome.result  # type: ignore[union-attr]
        if result is None:
            rows.append((key, fence, None, 0))
            continue
        at = contents.place(2 * key + 1, result)
        kind, encoding = result.content_type or None, result.content_encoding or None
        rows.append((key, fence, int(result.is_text), len(result.data), at, kind, encoding))
    contents.insert_apart()
    succeeding = step(State.PROCESSING, Event.SUCCEED)
    changed = transaction.run(
        "complete_jobs",
        rows=json.dumps(rows),
        content=contents.inline(),
        base=transaction.take_revisions(len(rows)),
        now=transaction.now_us,
        state=succeeding.to,
        retention_us=transaction.settings.retention_us,
    )
    if changed != len(rows):
        raise AssertionError(f"{changed} successes were recorded where {len(rows)} had been checked")
    transaction.depth -= changed
    return {one.key: succeeding.to for one in reports}


def _record_others(transaction: Transaction, reports: Sequence[Report]) -> dict[int, State]:
    if not reports:
        return {}
    outcomes = {one.key: one.outcome for one in reports}
    moves = [
        Move(facts, decide(facts.of_attempt(), outcomes[facts.key], jitter=transaction.chance()))
        for facts in read_facts(transaction, outcomes)
    ]
    apply_moves(transaction, moves)
    return {move.facts.key: move.decision.step.to for move in moves}


def _answer_stale(
    transaction: Transaction, reports: Sequence[Report], answers: Sequence[ReportAnswer | None]
) -> list[ReportAnswer]:
    """Say what became of the jobs whose reports changed nothing."""
    keys = [one.key for one, answer in zip(reports, answers, strict=True) if answer is None]
    found = json.loads(transaction.one("stale_attempts", keys=json.dumps(keys)))
    now = {key: (state_of(state), fence) for key, state, fence in found}
    complete: list[ReportAnswer] = []
    for one, answer in zip(reports, answers, strict=True):
        if answer is not None:
            complete.append(answer)
            continue
        state, fence = now.get(one.key, (None, None))
        same = fence == one.fence and _agrees(one, state)
        complete.append(ReportAnswer(ReportCode.DUPLICATE if same else ReportCode.LEASE_LOST, state))
    return complete


def _agrees(late: Report, state: State | None) -> bool:
    """True when the job stands where this very report would have put it: it was heard before."""
    if isinstance(late.outcome, Succeeded):
        return state is State.COMPLETED
    return state is not None and state not in (State.PROCESSING, State.COMPLETED)


def extend(transaction: Transaction, intents: Sequence[Intent]) -> None:
    """Apply all heartbeats of a group."""
    updates: list[LeaseUpdate] = [one for intent in intents for one in intent.argument]
    rows = json.dumps(updates)
    transaction.run("extend_leases", rows=rows, now=transaction.now_us, grace_us=transaction.settings.report_grace_us)
    states = [_LOST] * len(updates)
    for index, cancel, remaining_us in json.loads(transaction.one("lease_states", rows=rows, now=transaction.now_us)):
        states[index] = LeaseState(True, bool(cancel), remaining_us)
    position = 0
    for intent in intents:
        count = len(intent.argument)
        intent.answer = states[position : position + count]
        position += count
