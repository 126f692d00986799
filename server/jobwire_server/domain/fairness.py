"""How queues share what a worker asks for: by weight, one job at a time (stride scheduling)."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import NamedTuple


class Share(NamedTuple):
    """What one queue may get."""

    weight: int = 1
    """Jobs it gets for each one of a queue of weight 1; at least 1."""
    turn: float = 0.0
    """Where it stands in the order of service: the lowest turn is next."""
    limit: int | None = None
    """Most jobs, None = no bound of its own."""


FAIR = Share()
"""The share of a queue of which nothing is said."""


def order_of_service(available: Mapping[str, int], shares: Mapping[str, Share], limit: int) -> list[str]:
    """Say from which queues the next `limit` jobs come, in order, given how many each has.

    The queue with the lowest turn is served next, and each job moves its turn on by 1 / weight; of two with the same
    turn the first by name comes first. A queue steps out at its limit or when it has no more jobs, and its share falls
    to the others. So between any two queues that still have jobs, nobody is ever more than one job ahead of its weight.
    """
    waiting: list[tuple[float, str, int]] = []
    for queue, count in available.items():
        share = shares.get(queue, FAIR)
        most = count if share.limit is None else min(count, share.limit)
        if most > 0:
            waiting.append((share.turn, queue, most))
    if len(waiting) == 1:
        [(_, queue, most)] = waiting
        return [queue] * min(most, limit)
    heapq.heapify(waiting)
    served: dict[str, int] = {}
    order: list[str] = []
    while waiting and len(order) < limit:
        _, queue, most = waiting[0]
        order.append(queue)
        share = shares.get(queue, FAIR)
        count = served[queue] = served.get(queue, 0) + 1
        if count < most:
            # From the start, not step by step: a third added a thousand times is not a thousand thirds.
            heapq.heapreplace(waiting, (share.turn + count / share.weight, queue, most))
        else:
            heapq.heappop(waiting)
    return order
