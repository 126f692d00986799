"""How queues share: by weight, in an order that anybody can work out, and nobody is forgotten."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from jobwire_server.domain.fairness import Share, order_of_service

names = st.sampled_from("abcdef")
shares = st.dictionaries(
    names,
    st.builds(
        Share,
        weight=st.integers(1, 1000),
        turn=st.floats(0, 100, allow_nan=False),
        limit=st.none() | st.integers(0, 20),
    ),
)
available = st.dictionaries(names, st.integers(0, 60))
limits = st.integers(0, 120)


def test_queues_of_which_nothing_is_said_take_turns_by_name() -> None:
    assert order_of_service({"b": 9, "a": 9, "c": 9}, {}, 5) == ["a", "b", "c", "a", "b"]


def test_a_queue_of_weight_3_gets_three_jobs_for_each_one_of_a_queue_of_weight_1() -> None:
    order = order_of_service({"a": 99, "b": 99}, {"a": Share(3)}, 8)
    assert order == ["a", "b", "a", "a", "a", "b", "a", "a"]


def test_the_queue_that_waits_longest_is_served_first() -> None:
    assert order_of_service({"a": 9, "b": 9}, {"a": Share(turn=5.0), "b": Share(turn=4.0)}, 3) == ["b", "a", "b"]


def test_a_queue_that_runs_dry_leaves_its_share_to_the_others() -> None:
    assert order_of_service({"a": 1, "b": 9}, {"a": Share(100)}, 4) == ["a", "b", "b", "b"]


def test_a_queue_steps_out_at_its_limit() -> None:
    shares = {"a": Share(1000, limit=2), "b": Share(limit=0)}
    assert order_of_service({"a": 9, "b": 9, "c": 9}, shares, 5) == ["a", "c", "a", "c", "c"]


def test_one_queue_gets_what_there_is_within_its_limit() -> None:
    assert order_of_service({"a": 9}, {}, 3) == ["a", "a", "a"]
    assert order_of_service({"a": 2, "b": 0}, {}, 3) == ["a", "a"]
    assert order_of_service({"a": 9}, {"a": Share(limit=1)}, 3) == ["a"]


def test_no_queues_no_service() -> None:
    assert order_of_service({}, {"a": Share()}, 10) == []


@given(available, shares, limits)
def test_never_more_than_any_limit_and_never_less_than_they_allow(
    available: dict[str, int], shares: dict[str, Share], limit: int
) -> None:
    order = order_of_service(available, shares, limit)
    most = {}
    for queue, count in available.items():
        bound = shares.get(queue, Share()).limit
        most[queue] = count if bound is None else min(count, bound)
        assert order.count(queue) <= most[queue]
    assert len(order) == min(limit, sum(most.values()))


@given(st.dictionaries(names, st.integers(1, 1000), min_size=2), limits)
def test_shares_converge_to_weights(weights: dict[str, int], limit: int) -> None:
    """After any number of services no queue is further ahead of another than one job of either is worth."""
    order = order_of_service(dict.fromkeys(weights, limit), {queue: Share(weights[queue]) for queue in weights}, limit)
    for served in range(limit + 1):
        turns = {queue: order[:served].count(queue) / weight for queue, weight in weights.items()}
        for one, other in itertools.permutations(weights, 2):
            assert turns[one] - turns[other] <= 1 / weights[one] + 1e-9


@given(st.dictionaries(names, st.integers(1, 50), min_size=2), st.integers(1, 50))
def test_no_queue_starves_over_many_small_requests(weights: dict[str, int], limit: int) -> None:
    """The turns that a request ends with are those that the next begins with."""
    turns = dict.fromkeys(weights, 0.0)
    served = dict.fromkeys(weights, 0)
    needed = 2 * sum(weights.values())
    while sum(served.values()) < needed:
        shares = {queue: Share(weights[queue], turns[queue]) for queue in weights}
        for queue in order_of_service(dict.fromkeys(weights, limit), shares, limit):
            turns[queue] += 1 / weights[queue]
            served[queue] += 1
    assert all(served[queue] >= weight for queue, weight in weights.items())


@given(available, shares, limits)
def test_the_order_rests_on_nothing_but_its_arguments(
    available: dict[str, int], shares: dict[str, Share], limit: int
) -> None:
    backwards = dict(reversed(available.items()))
    assert order_of_service(backwards, shares, limit) == order_of_service(available, shares, limit)


@given(available, shares, limits)
def test_a_smaller_request_gets_the_beginning_of_a_larger_one(
    available: dict[str, int], shares: dict[str, Share], limit: int
) -> None:
    assert order_of_service(available, shares, limit) == order_of_service(available, shares, 10**6)[:limit]
