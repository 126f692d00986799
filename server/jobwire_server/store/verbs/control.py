"""What clients do to one job (cancel, retry, delete), and secrets. Each stands alone in its commit group."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from jobwire_server.domain.errors import JobNotFound, JobNotTerminal, JobSucceeded, JobTerminal, Refused
from jobwire_server.domain.job import Job, State
from jobwire_server.domain.lifecycle import Event, is_terminal, step
from jobwire_server.store.base import Lane
from jobwire_server.store.rows import job_of
from jobwire_server.store.verbs.intent import Intent, store_full
from jobwire_server.store.verbs.moves import JobFacts, apply_moves, read_facts, waiting_move
from jobwire_server.store.verbs.submit import queue_full
from jobwire_server.store.verbs.transaction import Transaction


class Cancel(NamedTuple):
    """Arguments of the cancel verb."""

    tenant: str
    job_id: str
    reason: str
    force: bool


class Retry(NamedTuple):
    """Arguments of the retry verb."""

    tenant: str
    job_id: str
    additional_attempts: int
    schedule_time_us: int | None


class Delete(NamedTuple):
    """Arguments of the delete verb."""

    tenant: str
    job_id: str


Argument = TypeVar("Argument")
Answer = TypeVar("Answer")


def each(apply: Callable[[Transaction, Argument], Answer]) -> Callable[[Transaction, Sequence[Intent]], None]:
    """Make a group verb of one that takes a single argument: a refusal is the answer of its intent alone."""

    def verb(transaction: Transaction, intents: Sequence[Intent]) -> None:
        for intent in intents:
            try:
                intent.answer = apply(transaction, intent.argument)
            except Refused as error:
                intent.answer = error

    return verb


def cancel(transaction: Transaction, wish: Cancel) -> Job:
    """See `Store.cancel`."""
    facts = _facts(transaction, wish.tenant, wish.job_id)
    if facts.state is State.CANCELLED:
        return _job(transaction, facts.key)
    if is_terminal(facts.state):
        raise JobTerminal(
            f"The job {wish.job_id!r} is {facts.state.name}: there is nothing left to cancel.", state=facts.state.name
        )
    if facts.state is State.PROCESSING and not wish.force:
        if not facts.cancel_requested:
            revision = transaction.take_revisions(1) + 1
            transaction.run("ask_cancel", key=facts.key, now=transaction.now_us, reason=wish.reason, revision=revision)
            transaction.cancelled.append((facts.key, facts.fence))
        return _job(transaction, facts.key)
    transaction.run("mark_cancelled", key=facts.key, now=transaction.now_us, reason=wish.reason)
    apply_moves(transaction, [waiting_move(facts, Event.CANCEL)])
    return _job(transaction, facts.key)


def retry(transaction: Transaction, wish: Retry) -> Job:
    """See `Store.retry`."""
    facts = _facts(transaction, wish.tenant, wish.job_id)
    if facts.state is State.COMPLETED:
        raise JobSucceeded(f"The job {wish.job_id!r} has completed: submit a new one to run it again.")
    if not is_terminal(facts.state):
        raise JobNotTerminal(
            f"The job {wish.job_id!r} is {facts.state.name}: only a job that has ended can be retried.",
            state=facts.state.name,
        )
    refusal = store_full() if transaction.full else queue_full(transaction)
    if refusal is not None:
        raise refusal
    later = wish.schedule_time_us is not None and wish.schedule_time_us > transaction.now_us
    target = step(facts.state, Event.REQUEUE_LATER if later else Event.REQUEUE).to
    due_us = wish.schedule_time_us if later and wish.schedule_time_us is not None else transaction.now_us
    transaction.run(
        "requeue_job",
        key=facts.key,
        seen=facts.state,
        state=target,
        granted=wish.additional_attempts or facts.policy.max_attempts,
        due_us=due_us,
        schedule_us=wish.schedule_time_us,
        now=transaction.now_us,
        revision=transaction.take_revisions(1) + 1,
    )
    transaction.run("delete_results", key=facts.key)
    transaction.depth_change += 1
    if later:
        transaction.due_at(due_us)
    else:
        transaction.pending.add(Lane(facts.queue, facts.type))
    return _job(transaction, facts.key)


def delete(transaction: Transaction, wish: Delete) -> bool:
    """See `Store.delete`."""
    key = transaction.one("job_keys", tenant=wish.tenant, id=wish.job_id)
    if key is None:
        return False
    facts = read_facts(transaction, [key])[0]
    if not is_terminal(facts.state):
        raise JobNotTerminal(
            f"The job {wish.job_id!r} is {facts.state.name}: cancel it before you delete it.", state=facts.state.name
        )
    remove(transaction, [key])
    return True


def remove(transaction: Transaction, keys: Sequence[int]) -> None:
    """Remove terminal jobs with all that belongs to them; DELETED events and tombstones stay."""
    listed = json.dumps(list(keys))
    until_us = transaction.now_us + transaction.settings.tombstone_retention_us
    base = transaction.take_revisions(len(keys))
    transaction.run("insert_deleted_events", keys=listed, base=base, now=transaction.now_us)
    transaction.run("insert_tombstones", keys=listed, until=until_us)
    transaction.run("delete_labels", keys=listed)
    transaction.run("delete_contents", keys=listed)
    transaction.run("delete_attempts", keys=listed)
    changed = transaction.run("delete_jobs", keys=listed)
    if changed != len(keys):
        raise AssertionError(f"{changed} jobs were removed where {len(keys)} had been chosen")
    transaction.run("orphan_request_keys", keys=listed)


def _job(transaction: Transaction, key: int) -> Job:
    """The job as this very transaction leaves it: a read after the commit would show what came next."""
    row = transaction.row("read_job", key=key)
    if row is None:
        raise AssertionError("a job that was changed in this transaction is not there")
    return job_of(row, payload=None, result=None)


def _facts(transaction: Transaction, tenant: str, job_id: str) -> JobFacts:
    key = transaction.one("job_keys", tenant=tenant, id=job_id)
    if key is None:
        raise JobNotFound(f"There is no job {job_id!r}.", job_id=job_id)
    return read_facts(transaction, [key])[0]


def secret(transaction: Transaction, purpose: str) -> bytes:
    """See `Store.secret`."""
    transaction.run("keep_secret", purpose=purpose, value=secrets.token_bytes(32))
    return bytes(transaction.one("read_secret", purpose=purpose))
