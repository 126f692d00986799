"""Broken worlds: each function takes the evidence of a sound world and breaks one promise in it, or says it cannot."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from jobwire_server.domain.job import TERMINAL_STATES, State
from tests.checker.corruptions_of_workers import CORRUPTIONS_OF_WORKERS
from tests.checker.sound_world import sealed
from tests.helpers.evidence import Evidence
from tests.helpers.history import Call, Effect, Moment, Outcome
from tests.helpers.image import Event, Image, Row

Corruption = Callable[[Evidence, random.Random], Evidence | None]


def with_final(evidence: Evidence, image: Image) -> Evidence:
    """The evidence, with another end."""
    return replace(evidence, images=[*evidence.images[:-1], image])


def with_events(evidence: Evidence, events: list[Event]) -> Evidence:
    """The evidence, with another log in every image (a log that was always wrong)."""
    images = [
        replace(image, events=[event for event in events if event.revision <= image.revision])
        for image in evidence.images
    ]
    return replace(evidence, images=images)


def with_rows(evidence: Evidence, rows: Mapping[int, Row]) -> Evidence:
    """The evidence, with other rows at the end."""
    return with_final(evidence, replace(evidence.final, rows=rows))


def with_call(evidence: Evidence, old: Call, new: Call | None) -> Evidence:
    """The evidence, with one call changed or left out."""
    calls = [new if call is old else call for call in evidence.calls]
    return replace(evidence, calls=[call for call in calls if call is not None])


def lose_a_job(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """An acknowledged job is nowhere, neither in the rows nor in the log."""
    if not evidence.final.rows:
        return None
    key = chance.choice(sorted(evidence.final.rows))
    images = [
        replace(
            image,
            events=[event for event in image.events if event.key != key],
            rows={other: row for other, row in image.rows.items() if other != key},
        )
        for image in evidence.images
    ]
    calls = [call for call in evidence.calls if call.op == "submit"]
    return replace(evidence, images=images, calls=calls, effects=())


def invent_a_job(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A job stands in the store that nobody submitted."""
    if not evidence.final.rows:
        return None
    key = chance.choice(sorted(evidence.final.rows))
    return with_rows(evidence, {**evidence.final.rows, key: evidence.final.rows[key]._replace(payload=b"invented")})


def keep_a_refused_job(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """The submit of a job that exists says that it was refused."""
    request = chance.choice([call.args["request_id"] for call in evidence.calls if call.op == "submit"])
    calls = [
        replace(call, outcome=Outcome.REFUSED, value={"reason": "QUEUE_FULL"})
        if call.op == "submit" and call.args["request_id"] == request
        else call
        for call in evidence.calls
    ]
    refused = replace(evidence, calls=calls)
    return None if request == "refused" else refused


def double_a_job(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """Two jobs come from one submission."""
    if len(evidence.final.rows) < 2:
        return None
    one, two = chance.sample(sorted(evidence.final.rows), 2)
    rows = dict(evidence.final.rows)
    rows[two] = rows[two]._replace(payload=rows[one].payload)
    return with_rows(evidence, rows)


def answer_a_repeat_with_another_job(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """The same request is answered OK twice, with different jobs."""
    call = _any_ok_submit(evidence, chance)
    if call is None:
        return None
    late = max(call.return_ns for call in evidence.calls)
    value = {"job_ids": ["another"], "created": [False]}
    repeat = replace(call, invoke_ns=late + 1, return_ns=late + 2, value=value)
    return replace(evidence, calls=[*evidence.calls, repeat])


def leave_a_job_stuck(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """The last event of a job never came, and its row stands where the one before left it."""
    key = chance.choice(sorted(evidence.lives))
    life = evidence.lives[key]
    if len(life) < 2 or life[-2].state in TERMINAL_STATES:
        return None
    before = life[-2]
    row = evidence.final.rows[key]._replace(
        state=before.state,
        revision=before.revision,
        sequence=before.sequence,
        attempt=before.attempt,
        fence=before.fence,
    )
    events = [event for event in evidence.final.events if event is not life[-1]]
    return with_final(evidence, replace(evidence.final, events=events, rows={**evidence.final.rows, key: row}))


def drop_an_event(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """An event inside a life is missing."""
    inner = [event for life in evidence.lives.values() for event in life[:-1]]
    if not inner:
        return None
    dropped = chance.choice(inner)
    return with_events(evidence, [event for event in evidence.final.events if event is not dropped])


def _change_event(evidence: Evidence, chance: random.Random, change: Callable[[Event], Event]) -> Evidence | None:
    changeable = [event for event in evidence.final.events if event.sequence > 1]
    if not changeable:
        return None
    chosen = chance.choice(changeable)
    changed = change(chosen)
    return with_events(evidence, [changed if event is chosen else event for event in evidence.final.events])


def raise_a_fence(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """An event carries a fence that no step gives."""
    return _change_event(evidence, chance, lambda event: event._replace(fence=event.fence + 2))


def lower_a_fence(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A fence falls."""
    return _change_event(evidence, chance, lambda event: event._replace(fence=event.fence - 2))


def count_an_attempt_twice(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """An attempt is counted that no lease began."""
    return _change_event(evidence, chance, lambda event: event._replace(attempt=event.attempt + 1))


def jump_a_sequence(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """The private sequence of a job has a gap."""
    return _change_event(evidence, chance, lambda event: event._replace(sequence=event.sequence + 1))


def take_an_illegal_step(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A job goes where the table does not lead (its next event says it came from there)."""
    births = [life for life in evidence.lives.values() if life[0].state == State.PENDING and len(life) > 1]
    if not births:
        return None
    first, second = chance.choice(births)[:2]
    wrong = second._replace(state=State.COMPLETED)
    events = []
    for event in evidence.final.events:
        if event is second:
            events.append(wrong)
        elif event.key == first.key and event.sequence == 3:
            events.append(event._replace(previous_state=State.COMPLETED))
        else:
            events.append(event)
    return with_events(evidence, events)


def end_a_job_twice(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A completed job fails afterwards."""
    completed = [row for row in evidence.final.rows.values() if row.state == State.COMPLETED]
    if not completed:
        return None
    row = chance.choice(completed)
    last = evidence.lives[row.key][-1]
    revision = evidence.final.revision + 1
    again = last._replace(
        revision=revision, sequence=last.sequence + 1, previous_state=State.COMPLETED, state=State.FAILED
    )
    after = row._replace(revision=revision, sequence=again.sequence, state=State.FAILED)
    rows = {**evidence.final.rows, row.key: after}
    return with_final(evidence, replace(evidence.final, events=[*evidence.final.events, again], rows=rows))


def part_a_row_from_its_log(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A row stands elsewhere than its log says."""
    key = chance.choice(sorted(evidence.final.rows))
    row = evidence.final.rows[key]
    other = chance.choice([state for state in TERMINAL_STATES if state != row.state])
    return with_rows(evidence, {**evidence.final.rows, key: row._replace(state=other)})


def alter_a_terminal_row(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A byte of a terminal job changes over a restart."""
    ended = [
        key
        for key, row in evidence.images[-2].rows.items()
        if row.state in TERMINAL_STATES and evidence.final.rows[key].revision == row.revision
    ]
    if not ended:
        return None
    key = chance.choice(ended)
    altered = sealed(evidence.final.rows[key]._replace(result=b'{"fence": 0}altered'))
    altered = altered._replace(result=evidence.final.rows[key].result)
    return with_rows(evidence, {**evidence.final.rows, key: altered})


def rewrite_history(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """The log loses, after a restart, what stood in it before."""
    earlier = evidence.images[-2]
    if not earlier.events:
        return None
    extra = earlier.events[-1]._replace(revision=earlier.revision, job_id="undone")
    images = [*evidence.images[:-2], replace(earlier, events=[*earlier.events[:-1], extra]), evidence.images[-1]]
    return replace(evidence, images=images)


def lease_before_recovery(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """After a death another job is leased first, and only then what was running is reset."""
    for number in range(len(evidence.images) - 1):
        before, after = evidence.images[number], evidence.images[number + 1]
        orphans = {key for key, row in before.rows.items() if row.state == State.PROCESSING}
        fresh = [event for event in after.events if event.revision > before.revision]
        leases = [e for e in fresh if e.state == State.PROCESSING and e.previous_state == State.PENDING]
        resets = [event for event in fresh if event.key in orphans]
        if leases and resets:
            reset, lease = resets[0], next((e for e in leases if e.key != resets[0].key), None)
            if lease is not None and lease.revision > reset.revision:
                return _swapped(evidence, reset, lease)
    return None


def _swapped(evidence: Evidence, one: Event, two: Event) -> Evidence:
    """The two events in the other order of revisions, in all images that hold them."""
    images = []
    for image in evidence.images:
        events = [
            one._replace(revision=two.revision) if event is one else two._replace(revision=one.revision) if event is two
            else event
            for event in image.events
        ]  # fmt: skip
        images.append(replace(image, events=sorted(events)))
    return replace(evidence, images=images)


def show_what_never_was(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A reader saw a revision that the log does not have (it was undone by a crash)."""
    reads = [call for call in evidence.calls if call.op == "get"]
    if not reads:
        return None
    call = chance.choice(reads)
    job_id, revision, state = call.value["seen"][0]
    wrong = chance.choice(
        [[job_id, revision + 10_000, state], [job_id, revision, state % 9 + 1], ["other", revision, state]]
    )
    return with_call(evidence, call, replace(call, value={"seen": [wrong]}))


def show_something_stale(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A reader is shown an older state than one known before it asked."""
    old_lives = [life for life in evidence.lives.values() if len(life) > 1]
    if not old_lives:
        return None
    life = chance.choice(old_lives)
    late = max(call.return_ns for call in evidence.calls)
    new, old = ([[event.job_id, event.revision, event.state]] for event in (life[-1], life[0]))
    template = evidence.calls[0]
    first = replace(
        template, op="get", args={}, invoke_ns=late + 1, return_ns=late + 2, outcome=Outcome.OK, value={"seen": new}
    )
    second = replace(first, invoke_ns=late + 3, return_ns=late + 4, value={"seen": old})
    return replace(evidence, calls=[*evidence.calls, first, second])


def _change_watch(
    evidence: Evidence, chance: random.Random, change: Callable[[list[list[int]]], list[list[int]]]
) -> Evidence | None:
    full = [call for call in evidence.calls if call.op == "watch" and len(call.value["events"]) > 1]
    if not full:
        return None
    call = chance.choice(full)
    return with_call(evidence, call, replace(call, value={**call.value, "events": change(call.value["events"])}))


def leave_a_gap_in_a_watch(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A watch misses an event."""
    return _change_watch(evidence, chance, lambda events: events[:-1])


def repeat_an_event_in_a_watch(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A watch gets an event twice."""
    return _change_watch(evidence, chance, lambda events: [*events, events[-1]])


def disorder_a_watch(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A watch gets events in the wrong order."""
    return _change_watch(evidence, chance, lambda events: events[::-1])


def forget_a_response(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A whole response with events is missing between two others."""
    watches = [call for call in evidence.calls if call.op == "watch"]
    inner = [call for call in watches[1:-1] if call.value["events"]]
    return with_call(evidence, chance.choice(inner), None) if inner else None


def end_a_watch_too_early(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """The watch of one job ends with OK before the job did."""
    for call in evidence.calls:
        if call.op == "watch-job" and len(call.value["seen"]) > 1:
            return with_call(evidence, call, replace(call, value={"seen": call.value["seen"][:1]}))
    return None


def run_without_a_lease(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A handler did something under a fence that was never leased."""
    if not evidence.effects:
        return None
    effect = chance.choice(evidence.effects)
    stray = effect._replace(fence=effect.fence + 1_000)
    return replace(evidence, effects=[*evidence.effects, stray])


def run_a_lease_twice(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """One lease starts its handler twice."""
    starts = [effect for effect in evidence.effects if effect.moment is Moment.START]
    if not starts:
        return None
    start = chance.choice(starts)
    position = evidence.effects.index(start)
    return replace(evidence, effects=[*evidence.effects[:position], start, *evidence.effects[position:]])


def let_an_old_run_act(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A run acts after its successor has."""
    by_job: dict[str, list[Effect]] = {}
    for effect in evidence.effects:
        by_job.setdefault(effect.job_id, []).append(effect)
    rerun = [effects for effects in by_job.values() if effects[0].fence != effects[-1].fence]
    if not rerun:
        return None
    old = chance.choice(rerun)[0]
    return replace(evidence, effects=[*evidence.effects, old._replace(moment=Moment.TICK)])


def complete_with_a_foreign_result(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A job was completed by the report of an older lease."""
    completed = [row for row in evidence.final.rows.values() if row.state == State.COMPLETED]
    if not completed:
        return None
    row = chance.choice(completed)
    foreign = row._replace(result=json.dumps({"fence": row.fence - 1}).encode())
    return with_rows(evidence, {**evidence.final.rows, row.key: foreign})


def complete_without_a_run(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A job is COMPLETED whose handler never got to its end."""
    ends = [effect for effect in evidence.effects if effect.moment is Moment.END]
    if not ends:
        return None
    gone = chance.choice(ends)
    return replace(evidence, effects=[effect for effect in evidence.effects if effect is not gone])


def _any_ok_submit(evidence: Evidence, chance: random.Random) -> Call | None:
    calls = [call for call in evidence.calls if call.op == "submit" and call.outcome is Outcome.OK]
    return chance.choice(calls) if calls else None


LEGAL = "every life is legal"
WATCH = "a resumed watch has no gap and no repeat"

CORRUPTIONS: Final[Mapping[Corruption, str]] = {
    lose_a_job: "an acknowledged job is there",
    invent_a_job: "every job was submitted",
    keep_a_refused_job: "every job was submitted",
    double_a_job: "a submission makes its jobs once",
    answer_a_repeat_with_another_job: "a submission makes its jobs once",
    leave_a_job_stuck: "nothing is stuck",
    drop_an_event: LEGAL,
    raise_a_fence: LEGAL,
    lower_a_fence: LEGAL,
    count_an_attempt_twice: LEGAL,
    jump_a_sequence: LEGAL,
    take_an_illegal_step: LEGAL,
    end_a_job_twice: LEGAL,
    part_a_row_from_its_log: "a row is its last event",
    alter_a_terminal_row: "what nobody changed is byte-identical over a restart",
    rewrite_history: "the log is only appended to",
    lease_before_recovery: "recovery ends before the first lease",
    show_what_never_was: "what was shown is durable",
    show_something_stale: "time does not run backwards",
    leave_a_gap_in_a_watch: WATCH,
    repeat_an_event_in_a_watch: WATCH,
    disorder_a_watch: WATCH,
    forget_a_response: WATCH,
    end_a_watch_too_early: "a watch of one job ends with its end",
    run_without_a_lease: "every effect is explained by an attempt",
    run_a_lease_twice: "a lease is run once",
    let_an_old_run_act: "no old run acts after its successor",
    complete_with_a_foreign_result: "a completion is the work of its own lease",
    complete_without_a_run: "a completion is the work of its own lease",
    **CORRUPTIONS_OF_WORKERS,
}
"""Each corruption, and the promise that must complain about it."""
