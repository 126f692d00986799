"""What keeps a lease: heartbeats, and a worker process that comes back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jobwire_server.domain.lifecycle import decide
from jobwire_server.domain.outcome import Released
from jobwire_server.store.base import LeaseState, LeaseUpdate, Owner, Reattached, RunName
from jobwire_server.store.verbs.claims import read_leases
from jobwire_server.store.verbs.intent import Intent
from jobwire_server.store.verbs.moves import Move, apply_moves, read_facts
from jobwire_server.store.verbs.transaction import Transaction

_LOST = LeaseState(False, False, 0)


class Reattach(NamedTuple):
    """Arguments of the reattach verb."""

    owner: Owner
    held: Sequence[tuple[int, int]]


def extend(transaction: Transaction, intents: Sequence[Intent]) -> None:
    """Apply all heartbeats of a group."""
    updates: list[LeaseUpdate] = [one for intent in intents for one in intent.argument]
    merged = _merge(updates)
    rows = [(*one[:5], int(one.checkpoint is not None)) for one in merged]
    transaction.run(
        "extend_leases",
        rows=json.dumps(rows),
        now=transaction.now_us,
        grace_us=transaction.settings.report_grace_us,
        cancel_grace_us=transaction.settings.cancel_grace_us,
    )
    _keep_checkpoints(transaction, merged)
    states = _lease_states(transaction, [(one.key, one.fence) for one in updates])
    _name(transaction, updates, states)
    position = 0
    for intent in intents:
        count = len(intent.argument)
        intent.answer = states[position : position + count]
        position += count


def _merge(updates: Iterable[LeaseUpdate]) -> list[LeaseUpdate]:
    """One update per lease, as several of the same lease in order would leave it."""
    merged: dict[tuple[int, int], LeaseUpdate] = {}
    for one in updates:
        before = merged.get((one.key, one.fence))
        merged[one.key, one.fence] = one if before is None else _after(before, one)
    return list(merged.values())


def _after(before: LeaseUpdate, one: LeaseUpdate) -> LeaseUpdate:
    """Both, the later one where it says something."""
    return one._replace(
        progress_percent=before.progress_percent if one.progress_percent is None else one.progress_percent,
        progress_message=before.progress_message if one.progress_message is None else one.progress_message,
        checkpoint=before.checkpoint if one.checkpoint is None else one.checkpoint,
    )


def _keep_checkpoints(transaction: Transaction, updates: Iterable[LeaseUpdate]) -> None:
    rows: list[tuple[object, ...]] = []
    data: list[bytes] = []
    offset = 1
    for one in updates:
        content = one.checkpoint
        if content is None:
            continue
        kind, encoding, size = content.content_type or None, content.content_encoding or None, len(content.data)
        rows.append((one.key, one.fence, int(content.is_text), kind, encoding, offset, size))
        data.append(content.data)
        offset += size
    if rows:
        transaction.run("keep_checkpoints", rows=json.dumps(rows), content=b"".join(data))


def _lease_states(transaction: Transaction, leases: Sequence[tuple[int, int]]) -> list[LeaseState]:
    """How these leases (key, fence) stand, in order."""
    states = [_LOST] * len(leases)
    found = transaction.one("lease_states", rows=json.dumps(leases), now=transaction.now_us)
    for index, cancel, remaining_us in json.loads(found):
        states[index] = LeaseState(True, bool(cancel), remaining_us)
    return states


def _name(transaction: Transaction, updates: Sequence[LeaseUpdate], states: list[LeaseState]) -> None:
    """Put names on the states of updates that carried progress."""
    moved = [
        index
        for index, one in enumerate(updates)
        if one.progress_percent is not None or one.progress_message is not None
    ]
    if not moved:
        return
    rows = json.dumps([(updates[index].key, updates[index].fence) for index in moved])
    keys: dict[int, None] = {}
    for place, *name in json.loads(transaction.one("run_names", rows=rows)):
        states[moved[place]] = states[moved[place]]._replace(name=RunName(*name))
        keys[updates[moved[place]].key] = None
    if keys:
        transaction.progressed(list(keys))


def reattach(transaction: Transaction, wish: Reattach) -> Reattached:
    """See `Store.reattach`."""
    owner, held = wish.owner, json.dumps(wish.held)
    unnamed = json.loads(
        transaction.one("unnamed_leases", instance_id=owner.instance_id, held=held, now=transaction.now_us)
    )
    moves = [
        Move(facts, decide(facts.of_attempt(), Released(), jitter=transaction.chance()))
        for facts in read_facts(transaction, unnamed)
    ]
    apply_moves(transaction, moves)
    transaction.run("take_over_leases", held=held, **owner._asdict())
    states = _lease_states(transaction, wish.held)
    standing = [key for (key, _), state in zip(wish.held, states, strict=True) if state.valid]
    leases = read_leases(transaction.row, list(dict.fromkeys(standing)), transaction.now_us, full=False)
    return Reattached(states, leases, returned=len(moves))
