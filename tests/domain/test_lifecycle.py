"""The transition table, held to its promises pair by pair."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwire_server.domain.job import TERMINAL_STATES, WAITING_STATES, State
from jobwire_server.domain.lifecycle import (
    INITIAL_STATES,
    TRANSITIONS,
    Event,
    IllegalTransition,
    Step,
    is_terminal,
    step,
)

PAIRS = list(itertools.product(State, Event))
LEGAL = [(state, event) for state, event in PAIRS if event in TRANSITIONS[state]]
ILLEGAL = [pair for pair in PAIRS if pair not in LEGAL]

# The diagram of the design, written down a second time: who may go where at all.
REACHABLE = {
    State.SCHEDULED: {State.PENDING, State.CANCELLED, State.EXPIRED},
    State.BLOCKED: {State.PENDING, State.CANCELLED, State.EXPIRED},
    State.PENDING: {State.PROCESSING, State.CANCELLED, State.EXPIRED},
    State.RETRYING: {State.PENDING, State.CANCELLED, State.EXPIRED},
    State.PROCESSING: {
        State.PENDING,
        State.SCHEDULED,
        State.RETRYING,
        State.COMPLETED,
        State.FAILED,
        State.CANCELLED,
        State.EXPIRED,
    },
    State.COMPLETED: set(),
    State.FAILED: {State.PENDING, State.SCHEDULED},
    State.CANCELLED: {State.PENDING, State.SCHEDULED},
    State.EXPIRED: {State.PENDING, State.SCHEDULED},
}


def _name(pair: tuple[State, Event]) -> str:
    return f"{pair[0].name}-{pair[1].value}"


@pytest.mark.parametrize("pair", LEGAL, ids=_name)
def test_a_transition_of_the_table_is_granted(pair: tuple[State, Event]) -> None:
    state, event = pair
    granted = step(state, event)
    assert granted == TRANSITIONS[state][event]
    assert granted.to in REACHABLE[state]


@pytest.mark.parametrize("pair", ILLEGAL, ids=_name)
def test_every_other_transition_is_refused_with_a_sentence(pair: tuple[State, Event]) -> None:
    state, event = pair
    with pytest.raises(IllegalTransition, match=rf"a job that is {state.name} cannot {event.value}"):
        step(state, event)


def test_the_table_has_a_row_for_every_state_and_leads_exactly_where_the_diagram_does() -> None:
    assert {state: {one.to for one in row.values()} for state, row in TRANSITIONS.items()} == REACHABLE


def test_every_event_is_used() -> None:
    assert {event for row in TRANSITIONS.values() for event in row} == set(Event)


def test_every_state_is_waiting_processing_or_terminal_and_only_one_of_them() -> None:
    assert set(State) == WAITING_STATES | TERMINAL_STATES | {State.PROCESSING}
    assert not WAITING_STATES & TERMINAL_STATES
    assert [is_terminal(state) for state in State] == [state in TERMINAL_STATES for state in State]


def test_a_job_begins_waiting() -> None:
    assert {State.SCHEDULED, State.PENDING} == INITIAL_STATES


def test_nobody_can_alter_the_table() -> None:
    for table in (TRANSITIONS, TRANSITIONS[State.FAILED]):
        with pytest.raises(TypeError):
            table[State.COMPLETED] = {}  # type: ignore[index]


@pytest.mark.parametrize("pair", LEGAL, ids=_name)
def test_nothing_leaves_a_terminal_state_but_a_requeue(pair: tuple[State, Event]) -> None:
    state, event = pair
    if is_terminal(state):
        assert event in {Event.REQUEUE, Event.REQUEUE_LATER}
        assert state is not State.COMPLETED


@pytest.mark.parametrize("pair", LEGAL, ids=_name)
def test_an_attempt_is_counted_by_a_lease_and_given_back_only_by_release_and_snooze(
    pair: tuple[State, Event],
) -> None:
    state, event = pair
    counted = {Event.LEASE: 1, Event.RELEASE: -1, Event.SNOOZE: -1}.get(event, 0)
    assert TRANSITIONS[state][event].attempt == counted


@pytest.mark.parametrize("pair", LEGAL, ids=_name)
def test_a_fence_never_falls_and_rises_wherever_a_holder_is_not_asked(pair: tuple[State, Event]) -> None:
    state, event = pair
    raised = event is Event.LEASE or (
        state is State.PROCESSING and event in {Event.LOSE, Event.LOSE_LAST, Event.RECOVER, Event.CANCEL, Event.EXPIRE}
    )
    assert TRANSITIONS[state][event].fence == int(raised)


@st.composite
def _paths(draw: st.DrawFn) -> list[tuple[State, Event, Step]]:
    """A random life: legal events only, from a state in which a job may begin."""
    state = draw(st.sampled_from(sorted(INITIAL_STATES)))
    path = []
    for _ in range(draw(st.integers(0, 40))):
        events = sorted(TRANSITIONS[state])
        if not events:
            break
        event = draw(st.sampled_from(events))
        path.append((state, event, step(state, event)))
        state = path[-1][2].to
    return path


@given(_paths())
def test_in_every_life_counters_move_as_promised(path: list[tuple[State, Event, Step]]) -> None:
    attempt = fence = leases = given_back = 0
    for state, event, change in path:
        assert change.fence in {0, 1}
        attempt, fence = attempt + change.attempt, fence + change.fence
        leases += event is Event.LEASE
        given_back += event in {Event.RELEASE, Event.SNOOZE}
        assert attempt == leases - given_back
        assert 0 <= attempt <= leases <= fence
        assert not is_terminal(state) or event in {Event.REQUEUE, Event.REQUEUE_LATER}


@given(_paths())
def test_no_life_runs_a_job_twice_at_once_or_again_after_success(
    path: list[tuple[State, Event, Step]],
) -> None:
    successes = [index for index, (_, event, _) in enumerate(path) if event is Event.SUCCEED]
    assert successes in ([], [len(path) - 1])
    holders = 0
    for _, event, change in path:
        holders += (event is Event.LEASE) - (event is not Event.LEASE and holders)
        assert holders == (change.to is State.PROCESSING)
