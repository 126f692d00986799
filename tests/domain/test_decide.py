"""What becomes of a running attempt: every outcome under every combination of facts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwire_server.domain.job import DAY_US, SECOND_US, JobError, RetryPolicy, State
from jobwire_server.domain.lifecycle import (
    MAX_DELAY_US,
    POISON_LOSSES,
    TRANSITIONS,
    AttemptFacts,
    Decision,
    Event,
    decide,
)
from jobwire_server.domain.outcome import Failed, LeaseLost, Outcome, Released, Snoozed, Stopped, Succeeded
from jobwire_server.domain.retry import backoff_us

POLICY = RetryPolicy(non_retryable_error_types=("ValueError",))
ERROR = JobError(type="OSError", message="gone")

OUTCOMES: dict[str, Outcome] = {
    "succeeded": Succeeded(),
    "stopped": Stopped("obeyed"),
    "failed": Failed(ERROR),
    "failed-with-delay": Failed(ERROR, retry_delay_us=7 * SECOND_US),
    "failed-for-good": Failed(JobError(type="OSError", retryable=False)),
    "failed-by-excluded-type": Failed(JobError(type="ValueError")),
    "released": Released(),
    "snoozed": Snoozed(30 * SECOND_US),
    "lease-lost": LeaseLost(),
    "lease-lost-at-startup": LeaseLost(at_startup=True),
}
FACTS = [
    AttemptFacts(attempt, max_attempts, POLICY, cancel_requested, expired, losses)
    for (attempt, max_attempts), cancel_requested, expired, losses in itertools.product(
        [(1, 1), (1, 3), (2, 3), (3, 3), (4, 3)], [False, True], [False, True], [0, 1, 2, 3]
    )
]


def _expected_event(facts: AttemptFacts, name: str) -> Event:
    lost = name.startswith("lease-lost")
    if name == "succeeded":
        return Event.SUCCEED
    if name == "stopped":
        return Event.STOP
    if facts.cancel_requested:
        return Event.CANCEL if lost else Event.STOP
    if facts.expired:
        return Event.EXPIRE if lost else Event.LAPSE
    if name in {"released", "snoozed"}:
        return Event.RELEASE if name == "released" else Event.SNOOZE
    last = facts.attempt >= facts.max_attempts
    if name == "lease-lost-at-startup":
        return Event.LOSE_LAST if last else Event.RECOVER
    if lost:
        return Event.LOSE_LAST if last or facts.losses + 1 >= POISON_LOSSES else Event.LOSE
    final = name in {"failed-for-good", "failed-by-excluded-type"}
    return Event.EXHAUST if last or final else Event.RETRY


@pytest.mark.parametrize("name", OUTCOMES)
def test_an_outcome_leads_where_the_design_says_under_all_facts(name: str) -> None:
    for facts in FACTS:
        decision = decide(facts, OUTCOMES[name], jitter=0.5)
        assert decision.event is _expected_event(facts, name), facts
        assert decision.step == TRANSITIONS[State.PROCESSING][decision.event]


@pytest.mark.parametrize("name", OUTCOMES)
def test_only_a_job_that_waits_gets_a_delay(name: str) -> None:
    for facts in FACTS:
        decision = decide(facts, OUTCOMES[name], jitter=0.5)
        assert decision.delay_us >= 0
        if decision.step.to not in {State.RETRYING, State.SCHEDULED}:
            assert decision.delay_us == 0


def _decide(outcome: Outcome, *, attempt: int = 1, max_attempts: int = 3, losses: int = 0, **wishes: bool) -> Decision:
    return decide(AttemptFacts(attempt, max_attempts, POLICY, losses=losses, **wishes), outcome, jitter=0.5)


def test_a_success_wins_over_a_cancel_wish_and_over_an_expiry() -> None:
    assert _decide(Succeeded(), cancel_requested=True, expired=True).step.to is State.COMPLETED


def test_a_failure_waits_for_the_backoff_of_its_attempt_and_keeps_its_error() -> None:
    decision = _decide(Failed(ERROR), attempt=2)
    assert decision.delay_us == backoff_us(POLICY, 2, 0.5)
    assert decision.error is ERROR


def test_a_delay_that_the_handler_asked_for_replaces_the_backoff() -> None:
    assert _decide(Failed(ERROR, retry_delay_us=7)).delay_us == 7
    assert _decide(Failed(ERROR, retry_delay_us=0)).delay_us == 0
    assert _decide(Snoozed(0)).delay_us == 0


@pytest.mark.parametrize(("asked_us", "granted_us"), [(-5, 0), (10**6 * DAY_US, MAX_DELAY_US)])
def test_a_delay_out_of_bounds_is_held_to_them(asked_us: int, granted_us: int) -> None:
    assert _decide(Failed(ERROR, retry_delay_us=asked_us)).delay_us == granted_us
    assert _decide(Snoozed(asked_us)).delay_us == granted_us


def test_a_lost_lease_with_attempts_left_is_retried_with_backoff_while_the_server_lives() -> None:
    decision = _decide(LeaseLost(), attempt=2)
    assert decision.step.to is State.RETRYING
    assert decision.delay_us == backoff_us(POLICY, 2, 0.5)
    assert decision.error is not None
    assert decision.error.type == "LEASE_LOST"


def test_a_lease_lost_to_a_restart_goes_back_to_pending_at_once_and_keeps_its_attempt_counted() -> None:
    decision = _decide(LeaseLost(at_startup=True))
    assert (decision.step.to, decision.step.attempt, decision.delay_us) == (State.PENDING, 0, 0)


@pytest.mark.parametrize("at_startup", [False, True])
def test_one_attempt_allowed_means_never_twice(at_startup: bool) -> None:
    decision = _decide(LeaseLost(at_startup=at_startup), max_attempts=1)
    assert decision.step.to is State.FAILED
    assert decision.error is not None
    assert decision.error.type == "LEASE_LOST"


def test_the_third_lease_lost_in_a_row_makes_a_job_poisoned() -> None:
    losses = 0
    for expected in (State.RETRYING, State.RETRYING, State.FAILED):
        decision = _decide(LeaseLost(), max_attempts=20, losses=losses)
        assert decision.step.to is expected
        losses = decision.losses
    assert decision.error is not None
    assert (decision.error.type, decision.error.retryable) == ("POISONED", False)


def test_losses_by_a_restart_are_neither_counted_nor_forgotten() -> None:
    restart = _decide(LeaseLost(at_startup=True), max_attempts=20, losses=2)
    assert (restart.step.to, restart.losses) == (State.PENDING, 2)


@pytest.mark.parametrize("outcome", [Failed(ERROR), Succeeded(), Snoozed(1)])
def test_a_worker_that_speaks_ends_the_row_of_losses(outcome: Outcome) -> None:
    assert _decide(outcome, max_attempts=20, losses=2).losses == 0


def test_a_release_says_nothing_about_the_worker_so_losses_stay() -> None:
    assert _decide(Released(), losses=2).losses == 2


def test_a_failure_under_a_cancel_wish_cancels_and_still_shows_its_error() -> None:
    decision = _decide(Failed(ERROR), cancel_requested=True)
    assert (decision.step.to, decision.error) == (State.CANCELLED, ERROR)


def test_a_report_never_raises_the_fence_so_that_its_repetition_is_known() -> None:
    for name, facts in itertools.product(OUTCOMES, FACTS):
        if not name.startswith("lease-lost"):
            assert decide(facts, OUTCOMES[name], jitter=0.0).step.fence == 0


def test_a_lost_lease_always_raises_the_fence() -> None:
    for facts, at_startup in itertools.product(FACTS, (False, True)):
        assert decide(facts, LeaseLost(at_startup), jitter=0.0).step.fence == 1


_policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 1000),
    initial_backoff_us=st.integers(0, MAX_DELAY_US),
    backoff_multiplier=st.floats(1, allow_nan=False, allow_infinity=False),
    max_backoff_us=st.integers(0, MAX_DELAY_US),
    jitter=st.floats(0, 1),
)


@given(
    outcome=st.sampled_from(list(OUTCOMES.values())),
    attempt=st.integers(1, 100_000),
    max_attempts=st.integers(1, 100_000),
    policy=_policies,
    wishes=st.tuples(st.booleans(), st.booleans()),
    losses=st.integers(0, 10),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_every_decision_stays_within_the_table_and_its_bounds(
    outcome: Outcome,
    attempt: int,
    max_attempts: int,
    policy: RetryPolicy,
    wishes: tuple[bool, bool],
    losses: int,
    jitter: float,
) -> None:
    decision = decide(AttemptFacts(attempt, max_attempts, policy, *wishes, losses), outcome, jitter=jitter)
    assert decision.step == TRANSITIONS[State.PROCESSING][decision.event]
    assert 0 <= decision.delay_us <= MAX_DELAY_US
    if decision.step.to is State.RETRYING:
        assert attempt < max_attempts
    assert (decision.step.attempt == -1) == (decision.event in {Event.RELEASE, Event.SNOOZE})
