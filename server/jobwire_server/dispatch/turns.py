"""Whose turn it is among the queues of one worker: fair by weight, over many requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jobwire_server.dispatch.interest import Interest
from jobwire_server.store.base import Lane, Lease, QueueShare


class Turns:
    """The turns of a worker's queues (`QueueShare.turn`), kept from one lease request to the next.

    A queue that had no jobs for a while does not save up turns: it comes back where the others are by then. Bounded by
    the queues that were served since the lowest turn.
    """

    def __init__(self, interest: Interest) -> None:
        self._interest = interest
        self._turns: dict[str, float] = {}
        self._now = 0.0

    def shares(self, lanes: Iterable[Lane], held: Mapping[str, int]) -> list[QueueShare]:
        """Shares of the queues of these lanes; empty when there is nothing to share. `held`: jobs in hand, by queue
        (only asked for queues with a bound of their own)."""
        queues = dict.fromkeys(lane.queue for lane in lanes)
        if len(queues) == 1 and not self._interest.bounded:
            return []
        shares = []
        for queue in queues:
            terms = self._interest.terms_of(queue)
            if terms is None:
                continue
            turn = max(self._now, self._turns.get(queue, 0.0))
            limit = None if terms.max_in_flight is None else max(0, terms.max_in_flight - held.get(queue, 0))
            shares.append(QueueShare(queue, terms.weight, turn, limit))
        return shares

    def served(self, shares: Iterable[QueueShare], leases: Iterable[Lease]) -> None:
        """Remember who was served of those that had a share."""
        counts: dict[str, int] = {}
        for lease in leases:
            counts[lease.queue] = counts.get(lease.queue, 0) + 1
        served = [share for share in shares if share.queue in counts]
        if not served:
            return
        for share in served:
            self._turns[share.queue] = share.turn + counts[share.queue] / share.weight
        # Where the service began, not where it ended: whoever waited meanwhile is not behind that.
        self._now = max(self._now, min(share.turn for share in served))
        self._turns = {queue: turn for queue, turn in self._turns.items() if turn > self._now}
