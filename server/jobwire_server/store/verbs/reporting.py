"""The report verb: how attempts ended, and what follows."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from jobwire_server.domain.errors import JobwireError
from jobwire_server.domain.job import Content, State
from jobwire_server.domain.lifecycle import Event, decide, step
from jobwire_server.domain.outcome import Stopped, Succeeded
from jobwire_server.store.base import Report, ReportAnswer, ReportCode, Submission
from jobwire_server.store.rows import state_of
from jobwire_server.store.verbs.contents import Contents
from jobwire_server.store.verbs.intent import Intent
from jobwire_server.store.verbs.moves import Move, apply_moves, read_facts
from jobwire_server.store.verbs.submit import Group, submit_all
from jobwire_server.store.verbs.transaction import Transaction

Answers = dict[int, ReportAnswer]
"""By the report's place in the call."""

_COMPLETED: Final = ReportAnswer(ReportCode.RECORDED, step(State.PROCESSING, Event.SUCCEED).to)


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
    if _are_plain_successes(reports):
        recorded = _record_successes(transaction, reports)
        transaction.depth_change -= len(recorded)
        if len(recorded) == len(reports):
            return [_COMPLETED] * len(reports)
        answers = dict.fromkeys(recorded, _COMPLETED)
    else:
        answers = _judge(transaction, reports)
    if len(answers) < len(reports):
        answers.update(_answer_stale(transaction, reports, answers))
    return [answers[index] for index in range(len(reports))]


def _are_plain_successes(reports: Sequence[Report]) -> bool:
    """Whether nothing has to be known before they are written, since the fence in the statement says it all."""
    if not all(isinstance(one.outcome, Succeeded) and not one.outcome.follow_ups for one in reports):
        return False
    return len({one.key for one in reports}) == len(reports)


def _judge(transaction: Transaction, reports: Sequence[Report]) -> Answers:
    """Record the reports that count, each on its own, in order; of those of one lease, the first counts."""
    pairs = [(one.key, one.fence) for one in reports]
    current = json.loads(transaction.one("live_attempts", pairs=json.dumps(pairs)))
    first: dict[int, int] = {}
    for index in current:
        first.setdefault(reports[index].key, index)
    answers = _record(transaction, {index: reports[index] for index in first.values()})
    refused = {reports[index].key for index, answer in answers.items() if answer.code is ReportCode.REFUSED}
    if refused:
        # A lease that still stands may be ended by a later report of the same call.
        later = [index for index in current if index not in answers and reports[index].key in refused]
        answers.update(zip(later, _report(transaction, [reports[index] for index in later]), strict=True))
    return answers


def _record(transaction: Transaction, live: Mapping[int, Report]) -> Answers:
    """Record reports of different leases that all stand."""
    successes = {index: one for index, one in live.items() if isinstance(one.outcome, Succeeded)}
    transaction.depth_change -= len(successes)  # first, so that a job makes room for what follows it
    answers = _create_follow_ups(transaction, successes)
    transaction.depth_change += len(answers)
    completed = [index for index in successes if index not in answers]
    recorded = _record_successes(transaction, [successes[index] for index in completed])
    if len(recorded) != len(completed):
        raise AssertionError(f"{len(recorded)} successes were recorded where {len(completed)} had been checked")
    answers.update(dict.fromkeys(completed, _COMPLETED))
    answers.update(_record_others(transaction, {index: one for index, one in live.items() if index not in successes}))
    return answers


def _create_follow_ups(transaction: Transaction, successes: Mapping[int, Report]) -> Answers:
    """Create what follows each success, all of it or none; return the answers of the reports that are refused."""
    wanted = {index: one for index, one in successes.items() if one.outcome.follow_ups}  # type: ignore[union-attr]
    if not wanted:
        return {}
    tenants = {facts.key: facts.tenant for facts in read_facts(transaction, [one.key for one in wanted.values()])}
    submissions = {
        index: Submission(tenants[one.key], one.outcome.follow_ups, atomic=True)  # type: ignore[union-attr]
        for index, one in wanted.items()
    }
    group = Group(transaction, list(submissions.values()))
    refused: Answers = {}
    for index, submission in submissions.items():
        try:
            submit_all(group, submission)
        except JobwireError as refusal:
            refused[index] = ReportAnswer(ReportCode.REFUSED, State.PROCESSING, refusal=refusal)
    group.insert()
    return refused


def _record_successes(transaction: Transaction, reports: Sequence[Report]) -> Sequence[int]:
    """Record the successes whose leases stand, in one statement; return their places in `reports`."""
    if not reports:
        return ()
    contents = Contents(transaction)
    rows: list[tuple[object, ...]] = []
    for key, fence, outcome in reports:
        result = outcome.result  # type: ignore[union-attr]
        rows.append((key, fence, None, 0) if result is None else (key, fence, *_place(contents, key, result)))
    listed = json.dumps(rows)
    base = transaction.take_revisions(len(rows))
    changed = transaction.run(
        "complete_jobs",
        rows=listed,
        content=contents.inline(),
        base=base,
        now=transaction.now_us,
        state=_COMPLETED.state,
        retention_us=transaction.settings.retention_us,
    )
    recorded: Sequence[int] = range(len(rows))
    if changed != len(rows):
        recorded = json.loads(transaction.one("completed_now", rows=listed, base=base))
        transaction.revision = base + (recorded[-1] + 1 if recorded else 0)
        contents.keep({2 * reports[index].key + 1 for index in recorded})
    contents.insert_apart()
    return recorded


def _place(contents: Contents, key: int, result: Content) -> tuple[int, int, int | None, str | None, str | None]:
    """Take a result in; return form, size, offset in the blob (None when it stands apart), type and encoding."""
    at = contents.place(2 * key + 1, result)
    return int(result.is_text), len(result.data), at, result.content_type or None, result.content_encoding or None


def _record_others(transaction: Transaction, reports: Mapping[int, Report]) -> Answers:
    if not reports:
        return {}
    outcomes = {one.key: one.outcome for one in reports.values()}
    moves = [
        Move(facts, decide(facts.of_attempt(), outcomes[facts.key], jitter=transaction.chance()))
        for facts in read_facts(transaction, outcomes)
    ]
    apply_moves(transaction, moves)
    _keep_results(transaction, reports.values())
    ended = {move.facts.key: _answer(move) for move in moves}
    return {index: ended[one.key] for index, one in reports.items()}


def _answer(move: Move) -> ReportAnswer:
    to = move.decision.step.to
    due_in_us = move.decision.delay_us if to in (State.RETRYING, State.SCHEDULED) else None
    return ReportAnswer(ReportCode.RECORDED, to, due_in_us)


def _keep_results(transaction: Transaction, reports: Collection[Report]) -> None:
    """Keep what jobs that were stopped had done so far."""
    contents = Contents(transaction)
    rows = [
        (one.key, *_place(contents, one.key, one.outcome.result))
        for one in reports
        if isinstance(one.outcome, Stopped) and one.outcome.result is not None
    ]
    if rows:
        contents.insert_apart()
        transaction.run("keep_results", rows=json.dumps(rows), content=contents.inline())


def _answer_stale(transaction: Transaction, reports: Sequence[Report], answers: Answers) -> Answers:
    """Say what became of the jobs whose reports changed nothing."""
    stale = {index: one for index, one in enumerate(reports) if index not in answers}
    keys = [one.key for one in stale.values()]
    found = json.loads(transaction.one("stale_attempts", keys=json.dumps(keys)))
    now = {key: (state_of(state), fence) for key, state, fence in found}
    complete: Answers = {}
    for index, one in stale.items():
        state, fence = now.get(one.key, (None, None))
        same = fence == one.fence and _agrees(one, state)
        complete[index] = ReportAnswer(ReportCode.DUPLICATE if same else ReportCode.LEASE_LOST, state)
    return complete


def _agrees(late: Report, state: State | None) -> bool:
    """True when the job stands where this very report would have put it: it was heard before."""
    if isinstance(late.outcome, Succeeded):
        return state is State.COMPLETED
    return state is not None and state not in (State.PROCESSING, State.COMPLETED)
