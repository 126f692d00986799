"""When the next attempt of a failed job may start."""

from __future__ import annotations

from jobwire_server.domain.job import RetryPolicy


def backoff_us(policy: RetryPolicy, attempt: int, jitter: float) -> int:
    """Return the wait before the attempt after `attempt` (1, 2, …), in microseconds.

    `initial × multiplier^(attempt-1)`, at most `max_backoff_us`, of which the part `policy.jitter` is drawn:
    with `jitter` in [0, 1) the result lies in [(1 - policy.jitter) × base, base]. Never overflows.
    """
    base = _capped_power(policy, max(0, attempt - 1))
    return max(0, round(base * (1.0 - policy.jitter * jitter)))


def _capped_power(policy: RetryPolicy, exponent: int) -> float:
    bound = float(policy.max_backoff_us)
    base = float(policy.initial_backoff_us)
    if base >= bound or policy.backoff_multiplier <= 1.0 or base == 0.0:
        return min(base, bound)
    try:
        return min(base * policy.backoff_multiplier**exponent, bound)
    except OverflowError:
        return bound
