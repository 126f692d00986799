"""When a failed job is tried again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwire_server.domain.job import DEFAULT_RETRY_POLICY, HOUR_US, SECOND_US, RetryPolicy
from jobwire_server.domain.retry import backoff_us

BOUND_US = 3650 * 24 * HOUR_US

policies = st.builds(
    RetryPolicy,
    initial_backoff_us=st.integers(0, BOUND_US),
    backoff_multiplier=st.floats(1, allow_nan=False, allow_infinity=False),
    max_backoff_us=st.integers(0, BOUND_US),
    jitter=st.floats(0, 1),
)
attempts = st.integers(1, 1_000_000)
chances = st.floats(0, 1, exclude_max=True)


def test_the_default_doubles_from_two_seconds_up_to_an_hour() -> None:
    waits = [backoff_us(DEFAULT_RETRY_POLICY, attempt, 0.0) // SECOND_US for attempt in range(1, 14)]
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600]


def test_the_default_takes_away_at_most_a_fifth() -> None:
    assert backoff_us(DEFAULT_RETRY_POLICY, 1, 0.0) == 2 * SECOND_US
    assert backoff_us(DEFAULT_RETRY_POLICY, 1, 0.5) == 1.8 * SECOND_US
    assert backoff_us(DEFAULT_RETRY_POLICY, 1, 1 - 2**-53) == pytest.approx(1.6 * SECOND_US)


def test_a_multiplier_of_one_waits_the_same_each_time() -> None:
    policy = RetryPolicy(backoff_multiplier=1.0, jitter=0.0)
    assert {backoff_us(policy, attempt, 0.3) for attempt in (1, 2, 1000)} == {2 * SECOND_US}


def test_no_backoff_means_at_once() -> None:
    assert backoff_us(RetryPolicy(initial_backoff_us=0), 30, 0.0) == 0
    assert backoff_us(RetryPolicy(max_backoff_us=0), 30, 0.0) == 0


def test_a_first_backoff_beyond_the_cap_is_capped() -> None:
    assert backoff_us(RetryPolicy(initial_backoff_us=9, max_backoff_us=5, jitter=0.0), 1, 0.0) == 5


@pytest.mark.parametrize("multiplier", [1.0000001, 2.0, 1e300, 1.7976931348623157e308])
def test_a_million_attempts_overflow_nothing(multiplier: float) -> None:
    policy = RetryPolicy(backoff_multiplier=multiplier, jitter=0.0)
    assert 2 * SECOND_US <= backoff_us(policy, 1_000_000, 0.0) <= HOUR_US


@given(policies, attempts, chances)
def test_a_backoff_lies_between_its_jittered_floor_and_the_cap(
    policy: RetryPolicy, attempt: int, chance: float
) -> None:
    wait_us = backoff_us(policy, attempt, chance)
    whole_us = backoff_us(policy, attempt, 0.0)
    assert 0 <= wait_us <= whole_us <= policy.max_backoff_us
    assert wait_us >= whole_us * (1 - policy.jitter) - 1  # 1 µs of rounding


@given(policies, attempts)
def test_a_backoff_never_shrinks_from_one_attempt_to_the_next(policy: RetryPolicy, attempt: int) -> None:
    assert backoff_us(policy, attempt, 0.0) <= backoff_us(policy, attempt + 1, 0.0)


@given(policies, attempts, chances, chances)
def test_more_chance_never_means_a_longer_wait(policy: RetryPolicy, attempt: int, one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert backoff_us(policy, attempt, more) <= backoff_us(policy, attempt, less)
