"""Who works here: worker processes that come, come back, are replaced, and go.

A connection proves nothing about a worker, and its loss says nothing about its jobs: leases end by time. What the
roster adds is knowledge of this very process: which assignments it sent and never heard of again. A worker that comes
back and does not name them has not received them: they go back at no cost. One that does not come back may have begun
them, and died of it: they go back soon, as lost. Unless it has come back to another server, which the store knows: a
lease that was extended since it was given is none of ours. All of it is derived and bounded; lost with the process, it
costs time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from jobwire_server.dispatch.dispatcher import Dispatcher
from jobwire_server.dispatch.interest import Interest
from jobwire_server.dispatch.session import Beat, Holder, Run, Subscriber, WorkerSession
from jobwire_server.domain.errors import JobwireError
from jobwire_server.domain.job import SECOND_US
from jobwire_server.domain.outcome import LeaseLost, Released
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.loop import Chance, Rhythm, every
from jobwire_server.kernel.telemetry import Log, LogEvent
from jobwire_server.store.base import Lease, LeaseState, Owner, Report, Store, Transport

ABSENT_SECONDS: Final = 10.0
"""A worker that does not come back for so long (or for the time of its leases, if that is shorter) has lost what it
never spoke of."""
REMEMBERED_SECONDS: Final = 3600.0
"""A worker that is gone is listed for so long."""
REMEMBERED_WORKERS: Final = 10_000
"""Most workers that are listed; beyond it the one that has been gone for longest is forgotten."""
_TICK_SECONDS: Final = 1.0
_CALLERS_STAY_SECONDS: Final = 60.0
"""A worker of the unary path counts as here for so long after a call."""


class WorkerReplaced(Exception):
    """While this worker was being taken on, another stream of the same name came. The later one stays."""


class Peer(Holder, Protocol):
    """A worker's stream, as the roster sees it."""

    def replaced(self) -> None:
        """Another stream of the same worker has taken over: say so, and end."""


class WorkerName(NamedTuple):
    """Who a worker says it is."""

    worker_id: str
    instance_id: str
    """Random per process start, "" for workers of the unary path."""
    user_agent: str = ""


class Hello(NamedTuple):
    """How a worker process introduces itself; checked before it comes here."""

    name: WorkerName
    interest: Interest
    lease_us: int
    max_bytes: int
    held: Sequence[Run]
    """Leases that it still holds."""


class WorkerFacts(NamedTuple):
    """A worker as ListWorkers shows it."""

    name: WorkerName
    interest: Interest
    max_in_flight: int
    in_flight: int
    last_seen_us: int
    connected: bool


class Presence:
    """One worker, as long as it is remembered."""

    def __init__(self, name: WorkerName, interest: Interest, seen_at: float) -> None:
        self.name = name
        self.interest = interest
        self.session: WorkerSession | None = None
        self.peer: Peer | None = None
        self.seen_at = seen_at
        """Last sign of life, by the injected clock's `monotonic`."""
        self.left_at: float | None = None
        """When its stream ended; None while it is here."""
        self.strays: list[Lease] = []
        """What it never spoke of, while it is absent."""

    def return_at(self) -> float:
        """When strays are given up for lost."""
        lease_seconds = self.session.lease_us / SECOND_US if self.session is not None else ABSENT_SECONDS
        return (self.left_at or 0.0) + min(lease_seconds, ABSENT_SECONDS)


class Roster:
    """Takes workers on and sees them off. Used on the event loop only."""

    def __init__(self, *, dispatcher: Dispatcher, store: Store, clock: Clock, chance: Chance, log: Log) -> None:
        self._dispatcher = dispatcher
        self._store = store
        self._clock = clock
        self._chance = chance
        self._log = log
        self._present: dict[str, Presence] = {}
        self._homes: dict[str, Presence] = {}
        """Workers of the unary path."""
        self._strays: list[Report] = []
        """What is to be said of runs that are in nobody's hands."""
        self._bell = asyncio.Event()
        self._never = asyncio.Event()

    async def run(self) -> None:
        """Look after those who are gone, until cancelled."""
        await every(
            self._tick,
            Rhythm(_TICK_SECONDS),
            clock=self._clock,
            chance=self._chance,
            stop=self._never,
            wake=self._bell,
            on_error=self._survive,
        )

    # --- streams ------------------------------------------------------------------------------------------------

    async def join(self, hello: Hello, peer: Peer, transport: Transport) -> tuple[Presence, Sequence[LeaseState]]:
        """Take a worker process on; answers what became of the leases that it holds, in order.

        An older stream of the same worker_id is replaced: of the same instance, its leases are those that are held
        now, and what was never received goes back at once, at no cost; of another instance (the worker was started
        again, and one of its jobs may be why), what the old one never spoke of is lost at once, and the rest of its
        leases ends by time. Raises what the store raises, and `WorkerReplaced`.
        """
        name = hello.name
        earlier = self._present.pop(name.worker_id, None)
        presence = self._present[name.worker_id] = Presence(name, hello.interest, self._clock.monotonic())
        self._forget_oldest(self._present)
        if earlier is not None:
            strays = self._take_over(earlier)
            if earlier.name.instance_id != name.instance_id:
                await self._end(await self._lost(strays))
        owner = self._owner(name, transport)
        asked_at = self._clock.monotonic()
        back = await self._store.reattach(owner, hello.held)
        # That it names them is a sign of life, which extends them: another server that has sent them sees it, too.
        named = [Beat((lease.key, lease.fence)) for lease in back.leases]
        standing = await self._dispatcher.extend(named, hello.lease_us) if named else []
        if self._present.get(name.worker_id) is not presence:
            raise WorkerReplaced
        session = self._dispatcher.attach(Subscriber(owner, hello.interest, hello.lease_us, hello.max_bytes), peer)
        presence.session, presence.peer = session, peer
        for lease, state in zip(back.leases, standing, strict=True):
            if state.valid:
                session.hold([lease], asked_at + state.remaining_us / SECOND_US, mentioned=True)
        unwanted = [run for (run, *_), state in zip(named, standing, strict=True) if state.cancel_requested]
        if unwanted:
            self._dispatcher.cancel_seen(session, unwanted)
        if hello.held or back.returned:
            self._log.info(
                LogEvent.WORKER_RETURNED,
                worker_id=name.worker_id,
                held=len(standing),
                lost=len(hello.held) - len(standing),
                returned=back.returned,
            )
        return presence, _later(back.states, standing)

    def leave(self, presence: Presence) -> None:
        """The worker's stream has ended. Its leases stay; what it never spoke of is lost unless it returns soon."""
        session = presence.session
        if session is None or presence.left_at is not None:
            return
        presence.left_at = presence.seen_at = self._clock.monotonic()
        presence.strays = session.unmentioned()
        presence.peer = None
        session.close()

    async def bury(self, worker_id: str) -> int:
        """This worker's process is known to be dead: end its leases now, as lost. Returns how many there were."""
        presence = self._present.pop(worker_id, None)
        if presence is None or presence.session is None:
            return 0
        runs = list(presence.session.runs)
        self._take_over(presence)
        await self._end([Report(*run, LeaseLost()) for run in runs])
        return len(runs)

    def _owner(self, name: WorkerName, transport: Transport) -> Owner:
        if transport is Transport.DIRECT:
            return Owner.in_pool(name.worker_id, self._dispatcher.instance_id, name.instance_id)
        return Owner(name.worker_id, name.instance_id, transport)

    def _take_over(self, earlier: Presence) -> list[Lease]:
        """End the part of an older stream; return what it never spoke of."""
        session, peer = earlier.session, earlier.peer
        if session is None:
            return []
        strays = earlier.strays or session.unmentioned()
        if peer is not None:
            peer.replaced()
        session.runs.clear()
        session.close()
        earlier.strays, earlier.peer = [], None
        earlier.left_at = self._clock.monotonic()
        return strays

    # --- the unary path -----------------------------------------------------------------------------------------

    def home_of(self, name: WorkerName, interest: Interest, lease_us: int) -> WorkerSession:
        """The session that holds what a worker of the unary path has pulled. It gets nothing by itself; it is there
        so that cancels and lost leases find the runs, and that what the worker wants stays known between its calls."""
        home = self._homes.pop(name.worker_id, None)
        if home is None or home.session is None or home.interest != interest:
            fresh = Presence(name, interest, 0.0)
            owner = Owner(name.worker_id, name.instance_id, Transport.UNARY)
            fresh.session = self._dispatcher.attach(Subscriber(owner, interest, lease_us), _NoStream())
            if home is not None and home.session is not None:
                fresh.session.runs.update(home.session.runs)
                home.session.runs.clear()
                home.session.close()
            home = fresh
        home.name = name
        home.seen_at = self._clock.monotonic()
        self._homes[name.worker_id] = home
        for forgotten in self._forget_oldest(self._homes):
            if forgotten.session is not None:
                forgotten.session.close()
        if home.session is None:
            raise AssertionError("a home has a session")
        return home.session

    def seen_at_home(self, worker_id: str) -> int | None:
        """A worker of the unary path gave a sign of life; answers with the lease that it asked for (in microseconds),
        None when this process has not served it before."""
        home = self._homes.get(worker_id)
        if home is None or home.session is None:
            return None
        home.seen_at = self._clock.monotonic()
        return home.session.lease_us

    def astray(self, runs: Sequence[Run]) -> None:
        """Nobody has received these: give them back as soon as the store can."""
        self._strays += [Report(*run, Released("it was never received")) for run in runs]
        self._bell.set()

    # --- listing ------------------------------------------------------------------------------------------------

    def workers(self) -> list[WorkerFacts]:
        """Everybody who is here or was lately, by worker_id."""
        now, now_us = self._clock.monotonic(), self._clock.wall_us()
        facts = []
        for presence in (*self._present.values(), *self._homes.values()):
            session, connected = presence.session, presence.peer is not None
            facts.append(
                WorkerFacts(
                    presence.name,
                    presence.interest,
                    session.window if session is not None else 0,
                    len(session.runs) if session is not None else 0,
                    now_us - round((now - presence.seen_at) * SECOND_US),
                    connected,
                )
            )
        return sorted(facts, key=lambda each: (each.name.worker_id, each.name.instance_id))

    def types(self) -> frozenset[str] | None:
        """Types that somebody serves who is here, or who called in the last minute; None = somebody serves any."""
        since = self._clock.monotonic() - _CALLERS_STAY_SECONDS
        here = [presence for presence in self._present.values() if presence.peer is not None]
        here += [presence for presence in self._homes.values() if presence.seen_at >= since]
        served: set[str] = set()
        for presence in here:
            if presence.interest.types is None:
                return None
            served |= presence.interest.types
        return frozenset(served)

    # --- time ---------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        now = self._clock.monotonic()
        await self._look_after_the_absent(now)
        for worker_id, home in list(self._homes.items()):
            if now - home.seen_at > REMEMBERED_SECONDS and home.session is not None and not home.session.runs:
                del self._homes[worker_id]
                home.session.close()
        if self._strays:
            strays = list(self._strays)
            await self._end(strays)
            del self._strays[: len(strays)]

    async def _look_after_the_absent(self, now: float) -> None:
        for worker_id, presence in list(self._present.items()):
            if presence.left_at is None or presence.session is None:
                continue
            if presence.strays and presence.return_at() <= now:
                lost = await self._lost(presence.strays)
                # It may have come back while the store was asked, and taken its strays along.
                strays, presence.strays = presence.strays, []
                self._strays += lost if strays else []
                for lease in strays:
                    presence.session.runs.pop((lease.key, lease.fence), None)
            if now - presence.left_at > REMEMBERED_SECONDS:
                del self._present[worker_id]

    async def _lost(self, strays: Sequence[Lease]) -> list[Report]:
        """What there is to say of leases of which nobody has heard since they were given, here or elsewhere."""
        if not strays:
            return []
        ends = await self._store.lease_ends([(lease.key, lease.fence) for lease in strays])
        return [
            Report(lease.key, lease.fence, LeaseLost())
            for lease, end in zip(strays, ends, strict=True)
            if end is not None and end.lease_expire_us == lease.lease_expire_us
        ]

    async def _end(self, reports: Sequence[Report]) -> None:
        if reports:
            await self._dispatcher.report(reports)

    def _survive(self, error: Exception, failures: int) -> float | None:
        if not isinstance(error, JobwireError):
            return None
        if failures == 1:
            self._log.warning(LogEvent.RETURN_FAILED, jobs=len(self._strays), error=str(error))
        return _TICK_SECONDS

    def _forget_oldest(self, presences: dict[str, Presence]) -> list[Presence]:
        """Keep the bound: forget those who are gone, the first to come first."""
        forgotten: list[Presence] = []
        if len(presences) > REMEMBERED_WORKERS:
            for worker_id, presence in list(presences.items()):
                if presence.peer is None and (presence.left_at is not None or presences is self._homes):
                    forgotten.append(presences.pop(worker_id))
                    break
        return forgotten


def _later(states: Sequence[LeaseState], standing: Iterable[LeaseState]) -> Sequence[LeaseState]:
    """The states of all leases, those that stood as they are now."""
    now = iter(standing)
    return [next(now) if state.valid else state for state in states]


class _NoStream:
    """The holder of a worker without a stream: it learns everything from the answers to its calls."""

    def assign(self, leases: object) -> None:  # noqa: ARG002 (the seam's)
        """Nothing is assigned to a home."""
        raise AssertionError("a home has no window")

    def cancel(self, runs: object, grace_seconds: float) -> None:
        """Its next heartbeat tells it."""

    def lose(self, runs: object) -> None:
        """Its next call tells it."""

    def drain(self, reason: str) -> None:
        """Its next pull tells it."""
