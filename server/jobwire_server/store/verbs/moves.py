"""Moving jobs along the lifecycle table: all changes of state but submit, lease, success and RetryJob."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from jobwire_server.domain.job import DEFAULT_RETRY_POLICY, JobError, RetryPolicy, State
from jobwire_server.domain.lifecycle import AttemptFacts, Decision, Event, is_terminal, step
from jobwire_server.kernel.telemetry import LogEvent
from jobwire_server.store.base import Lane
from jobwire_server.store.rows import encode_error, policy_of, state_of
from jobwire_server.store.verbs.transaction import Transaction


class JobFacts(NamedTuple):
    """What the store knows of a job that may move."""

    key: int
    tenant: str
    job_id: str
    queue: str
    type: str
    state: State
    fence: int
    attempt: int
    max_attempts: int
    policy: RetryPolicy
    cancel_requested: bool
    expired: bool
    losses: int

    def of_attempt(self) -> AttemptFacts:
        """What `decide` needs of them."""
        return AttemptFacts(
            self.attempt, self.max_attempts, self.policy, self.cancel_requested, self.expired, self.losses
        )


class Move(NamedTuple):
    """One job and where it goes."""

    facts: JobFacts
    decision: Decision


def read_facts(transaction: Transaction, keys: Iterable[int]) -> list[JobFacts]:
    """Read the facts of these jobs; those that are gone are left out."""
    found = transaction.one("read_facts", keys=json.dumps(list(keys)), now=transaction.now_us)
    return [_facts(transaction, row) for row in json.loads(found)]


def _facts(transaction: Transaction, row: list[Any]) -> JobFacts:
    (
        key, tenant, job_id, queue, kind, state, fence, attempt, max_attempts, retry, cancel, expired, losses,
    ) = row  # fmt: skip
    return JobFacts(
        key, tenant, job_id, queue, kind, state_of(state), fence, attempt, max_attempts,
        _policy(transaction, job_id, retry), bool(cancel), bool(expired), losses,
    )  # fmt: skip


def _policy(transaction: Transaction, job_id: str, retry: str | None) -> RetryPolicy:
    """The policy of a row; a damaged one must not stop the jobs beside it, so the service's takes its place."""
    if retry is None:
        return DEFAULT_RETRY_POLICY
    try:
        return policy_of(retry)
    except ValueError as error:
        transaction.log.warning(LogEvent.POLICY_UNREADABLE, job_id=job_id, error=str(error))
        return DEFAULT_RETRY_POLICY


def waiting_move(facts: JobFacts, event: Event, error: JobError | None = None) -> Move:
    """A move that needs no decision: time, cancel or expiry of a job that waits (or a cancel by force)."""
    return Move(facts, Decision(event, step(facts.state, event), error=error, losses=facts.losses))


def apply_moves(transaction: Transaction, moves: Sequence[Move]) -> None:
    """Write the moves: one statement for the rows, one for the attempts that ended badly; triggers write the events."""
    if not moves:
        return
    ended = [
        [move.facts.key, encode_error(move.decision.error)]
        for move in moves
        if move.facts.state is State.PROCESSING and move.decision.step.attempt == 0
    ]
    if ended:
        transaction.run("insert_attempts", rows=json.dumps(ended), now=transaction.now_us)
        keys = json.dumps([key for key, _ in ended])
        transaction.run("trim_attempts", keys=keys, keep=transaction.settings.kept_attempts)
    rows = [_row(transaction, move) for move in moves]
    base = transaction.take_revisions(len(rows))
    changed = transaction.run("move_jobs", rows=json.dumps(rows), base=base, now=transaction.now_us)
    if changed != len(rows):
        raise AssertionError(f"{len(rows) - changed} of {len(rows)} jobs moved between reading and writing")
    for move in moves:
        _note(transaction, move)


def _row(transaction: Transaction, move: Move) -> list[Any]:
    facts, decision = move
    to, attempt_step, fence_step = decision.step
    settings = transaction.settings
    due_us = None
    if to in (State.RETRYING, State.SCHEDULED):
        due_us = transaction.now_us + decision.delay_us
    return [
        facts.key, facts.state, facts.fence, to, attempt_step, fence_step, decision.losses, due_us,
        encode_error(decision.error), int(is_terminal(to)),
        settings.failed_retention_us if to is State.FAILED else settings.retention_us,
    ]  # fmt: skip


def _note(transaction: Transaction, move: Move) -> None:
    """Keep the derived counters and the notice in step."""
    facts, decision = move
    to = decision.step.to
    if to is State.PENDING:
        transaction.pending.add(Lane(facts.queue, facts.type))
    elif to in (State.RETRYING, State.SCHEDULED):
        transaction.due_at(transaction.now_us + decision.delay_us)
    elif is_terminal(to):
        transaction.depth_change -= 1
    if facts.state is State.PROCESSING and decision.event in (Event.CANCEL, Event.EXPIRE):
        transaction.cancelled.append((facts.key, facts.fence))
