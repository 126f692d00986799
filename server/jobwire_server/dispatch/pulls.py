"""One pull of a worker on the unary path: leases that are there now, or the first that come within its wait."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple

from jobwire_server.dispatch.dispatcher import Dispatcher
from jobwire_server.dispatch.interest import Interest
from jobwire_server.dispatch.roster import Roster, WorkerName
from jobwire_server.dispatch.session import Run, Subscriber, WorkerSession
from jobwire_server.domain.job import SECOND_US
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.loop import wait_any
from jobwire_server.store.base import Lease, Owner, Store, Transport

ENVELOPE_BYTES: Final = 12 << 10
"""Most that an assignment has beside its payload and its checkpoint: headers and labels, above all."""


class Pull(NamedTuple):
    """A checked PullJobsRequest."""

    worker_id: str
    interest: Interest
    max_jobs: int
    lease_us: int
    request_id: str = ""
    user_agent: str = ""


class Pulled(NamedTuple):
    """Its answer."""

    leases: Sequence[Lease]
    draining: bool


class Pulls:
    """Serves the pulls of all workers of the unary path.

    The dangerous moment is a lease that is committed while its caller vanishes. So leases are taken only while the
    caller waits; what a vanished caller would have got is given back at once, at no cost to its attempt; and the same
    request_id finds its leases again, in the store: they are owned by an instance that is named after it.
    """

    def __init__(self, *, dispatcher: Dispatcher, roster: Roster, store: Store, clock: Clock) -> None:
        self._dispatcher = dispatcher
        self._roster = roster
        self._store = store
        self._clock = clock

    async def pull(self, pull: Pull, wait_seconds: float, *, max_bytes: int) -> Pulled:
        """Lease up to `max_jobs`, together at most `max_bytes` (but one job at least); wait for the first one if there
        is none. Raises what the store raises."""
        home = self._roster.home_of(WorkerName(pull.worker_id, "", pull.user_agent), pull.interest, pull.lease_us)
        owner = Owner(pull.worker_id, instance_of(pull.worker_id, pull.request_id), Transport.UNARY)
        if pull.request_id:
            again = await self._store.held_by(owner.instance_id, limit=pull.max_jobs)
            if again:
                self._settle(home, again)
                return Pulled(again, draining=False)
        waiter = _Waiter()
        session = self._dispatcher.attach(
            Subscriber(owner, pull.interest, pull.lease_us, max_bytes - pull.max_jobs * ENVELOPE_BYTES), waiter
        )
        try:
            session.resize(pull.max_jobs)
            await self._dispatcher.lease_now(session)
            if not waiter.bell.is_set() and wait_seconds > 0:
                await wait_any(waiter.bell, seconds=wait_seconds, clock=self._clock)
        except BaseException:
            self._roster.astray([(lease.key, lease.fence) for lease in waiter.leases])
            raise
        finally:
            session.close()
        # Without a pause from here to the answer: nothing can be lost between the two.
        self._settle(home, waiter.leases)
        return Pulled(waiter.leases, waiter.draining)

    def _settle(self, home: WorkerSession, leases: Sequence[Lease]) -> None:
        now = self._clock.monotonic()
        for lease in leases:
            home.hold([lease], now + lease.lease_us / SECOND_US)


class _Waiter:
    """The holder of one pull."""

    def __init__(self) -> None:
        self.leases: list[Lease] = []
        self.draining = False
        self.bell = asyncio.Event()

    def assign(self, leases: Sequence[Lease]) -> None:
        """The first jobs end the wait."""
        self.leases += leases
        self.bell.set()

    def cancel(self, runs: Sequence[Run], grace_seconds: float) -> None:
        """The next heartbeat tells."""

    def lose(self, runs: Sequence[Run]) -> None:
        """The next call tells."""

    def drain(self, reason: str) -> None:  # noqa: ARG002 (the seam's)
        """There will be nothing: answer now."""
        self.draining = True
        self.bell.set()


def instance_of(worker_id: str, request_id: str) -> str:
    """Name the instance that owns the leases of a pull: after its request_id, at random if it has none."""
    if not request_id:
        return secrets.token_hex(8)
    digest = hashlib.blake2b(f"{len(worker_id)}:{worker_id}{request_id}".encode(), digest_size=12)
    return f"pull-{digest.hexdigest()}"
