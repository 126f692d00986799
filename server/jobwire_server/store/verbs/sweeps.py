"""Recovery and the sweeps that keep the store moving and finite; each call is one bounded batch in one transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from jobwire_server.domain.job import JobError, State
from jobwire_server.domain.lifecycle import Decision, Event, decide, step
from jobwire_server.domain.outcome import LeaseLost
from jobwire_server.kernel.failpoint import Failpoint
from jobwire_server.kernel.telemetry import LogEvent
from jobwire_server.store.base import RecoveryBatch, Sweep
from jobwire_server.store.verbs.control import remove
from jobwire_server.store.verbs.moves import Move, apply_moves, read_facts, waiting_move
from jobwire_server.store.verbs.transaction import Transaction


class Recover(NamedTuple):
    """Arguments of one batch of recovery."""

    instance_id: str
    limit: int
    skipped: set[int]
    """Keys of rows that could be neither reset nor failed; grows, so that they stop nobody."""
    failpoint: Failpoint


class Bound(NamedTuple):
    """Arguments of a sweep."""

    limit: int


def recover(transaction: Transaction, wish: Recover) -> RecoveryBatch:
    """See `Store.recover`."""
    skipped = json.dumps(sorted(wish.skipped))
    keys: list[int] = json.loads(
        transaction.one(
            "orphaned_leases",
            instance_id=wish.instance_id,
            skipped=skipped,
            now=transaction.now_us,
            limit=wish.limit,
        )
    )
    if len(keys) < wish.limit:
        expired = json.loads(transaction.one("expired_leases", now=transaction.now_us, limit=wish.limit - len(keys)))
        known = {*keys, *wish.skipped}
        keys += [key for key in expired if key not in known]
    moves = _lost(transaction, keys, at_startup=True)
    moves = _apply_or_fail(transaction, moves, wish.skipped)
    wish.failpoint("recover.before_commit")
    targets = [move.decision.step.to for move in moves]
    return RecoveryBatch(
        returned=targets.count(State.PENDING),
        failed=targets.count(State.FAILED),
        cancelled=targets.count(State.CANCELLED) + targets.count(State.EXPIRED),
        more=len(keys) >= wish.limit,
    )


def expire_leases(transaction: Transaction, wish: Bound) -> Sweep:
    """See `Store.expire_leases`."""
    keys = json.loads(transaction.one("expired_leases", now=transaction.now_us, limit=wish.limit))
    moves = _apply_or_fail(transaction, _lost(transaction, keys, at_startup=False), set())
    return Sweep(len(moves), len(keys) >= wish.limit and bool(moves))


def promote_due(transaction: Transaction, wish: Bound) -> Sweep:
    """See `Store.promote_due`."""
    keys = json.loads(transaction.one("due_jobs", now=transaction.now_us, limit=wish.limit))
    moved = _apply_or_skip(transaction, [waiting_move(facts, Event.DUE) for facts in read_facts(transaction, keys)])
    return Sweep(moved, moved >= wish.limit, _time_left(transaction, transaction.one("next_due")))


def expire_jobs(transaction: Transaction, wish: Bound) -> Sweep:
    """See `Store.expire_jobs`."""
    keys = json.loads(transaction.one("expired_jobs", now=transaction.now_us, limit=wish.limit))
    moved = _apply_or_skip(transaction, [waiting_move(facts, Event.EXPIRE) for facts in read_facts(transaction, keys)])
    return Sweep(moved, moved >= wish.limit, _time_left(transaction, transaction.one("next_expiry")))


def purge(transaction: Transaction, wish: Bound) -> Sweep:
    """See `Store.purge`."""
    settings, now_us = transaction.settings, transaction.now_us
    keys = json.loads(transaction.one("purgeable_jobs", now=now_us, limit=wish.limit))
    if keys:
        remove(transaction, keys)
    counts = [
        len(keys),
        _compact(transaction, wish.limit),
        transaction.run("delete_request_keys", before=now_us - settings.request_retention_us, limit=wish.limit),
        transaction.run("delete_tombstones", now=now_us, limit=wish.limit),
    ]
    return Sweep(sum(counts), max(counts) >= wish.limit)


def _compact(transaction: Transaction, limit: int) -> int:
    """Remove the oldest events beyond both bounds of the log; the floor rises in the same transaction."""
    settings = transaction.settings
    revision = transaction.one(
        "compactable_revision",
        newest=transaction.revision,
        keep=settings.event_retention_count,
        before=transaction.now_us - settings.event_retention_us,
        limit=limit,
    )
    if revision is None:
        return 0
    transaction.run("set_compacted", revision=revision)
    transaction.compacted = revision
    return transaction.run("delete_events", revision=revision)


def _lost(transaction: Transaction, keys: Sequence[int], *, at_startup: bool) -> list[Move]:
    outcome = LeaseLost(at_startup=at_startup)
    return [
        Move(facts, decide(facts.of_attempt(), outcome, jitter=transaction.chance()))
        for facts in read_facts(transaction, keys)
    ]


def _apply_or_fail(transaction: Transaction, moves: Sequence[Move], skipped: set[int]) -> list[Move]:
    """Apply the moves together; when that fails, one by one, so that a row that cannot be reset stops no other."""
    if _applied(transaction, moves):
        return list(moves)
    done: list[Move] = []
    for move in moves:
        failing = _failing(move)
        if _applied(transaction, [move]):
            done.append(move)
        elif _applied(transaction, [failing]):
            transaction.log.error(LogEvent.JOB_FAILED_IN_RECOVERY, job_id=move.facts.job_id)
            done.append(failing)
        else:
            transaction.log.error(LogEvent.JOB_STUCK, job_id=move.facts.job_id)
            skipped.add(move.facts.key)
    return done


def _apply_or_skip(transaction: Transaction, moves: Sequence[Move]) -> int:
    """Apply the moves together; when that fails, one by one, leaving out what cannot move; return how many did."""
    if _applied(transaction, moves):
        return len(moves)
    return sum(_applied(transaction, [move]) for move in moves)


def _applied(transaction: Transaction, moves: Sequence[Move]) -> bool:
    error = transaction.tried(lambda: apply_moves(transaction, moves))
    if error is not None:
        transaction.log.warning(LogEvent.MOVE_REFUSED, jobs=len(moves), error=str(error))
    return error is None


def _failing(move: Move) -> Move:
    message = "The job could not be put back after its lease was lost; the server's log says why."
    error = JobError(type="RECOVERY_FAILED", message=message, retryable=False)
    return Move(move.facts, Decision(Event.LOSE_LAST, step(State.PROCESSING, Event.LOSE_LAST), error=error))


def _time_left(transaction: Transaction, at_us: int | None) -> int | None:
    return None if at_us is None else max(0, at_us - transaction.now_us)
