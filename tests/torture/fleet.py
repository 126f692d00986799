"""A campaign on PostgreSQL: servers that live at the same time on one database, and the ways to it, which all break."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import grpc

from jobwire_server.store.postgres.visiting import check_store
from tests.helpers.checker import Violation, check
from tests.helpers.evidence import Evidence
from tests.helpers.history import read_answers, read_calls, read_effects
from tests.helpers.image import read_store
from tests.helpers.postgres import PostgresServer
from tests.helpers.postgres_proxy import PostgresProxy
from tests.helpers.processes import JOBWIRE, ServerProcess
from tests.torture.campaign import Campaign
from tests.torture.clients import JOB_TYPES, RECONNECT_AT_ONCE, WIRE_TYPES
from tests.torture.remote import RemoteWorker, start_worker
from tests.torture.witness import now_us

FIRST_PORT: Final = 7781
_MOST_STARTS: Final = 20
LEASE_SECONDS: Final = 3.0


class Member:
    """One server of the fleet, over all its lives, and its own way to the database."""

    def __init__(self, name: str, address: str, url: str, proxy: PostgresProxy, log: Path) -> None:
        self.name = name
        self.address = address
        self.proxy = proxy
        self._url = url
        self._log = log
        self._process: ServerProcess | None = None

    async def start(self, command: Sequence[str]) -> None:
        """Begin a life; returns when it serves. One that does not get so far, since the database is away just then, is
        begun anew, as by whatever supervises servers."""
        terms = ("--lease", f"{LEASE_SECONDS:g}s", "--grace", "2s", "--cancel-grace", "1s")
        arguments = ["serve", "--listen", self.address, "--db", self._url, *terms]
        for _ in range(_MOST_STARTS):
            self._process = ServerProcess(arguments, command=command, log=self._log)
            if await self._process.ready() is not None:
                return
        raise AssertionError(f"{self.name} did not start:\n{self._process.tail() if self._process else ''}")

    async def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.send(signal.SIGKILL)
            await self._process.destroy()

    async def finish(self) -> int | None:
        """End it in good order; returns its exit code, None when it does not end."""
        assert self._process is not None
        self._process.send(signal.SIGTERM)
        code = await self._process.wait(20)
        await self._process.destroy()
        return code


class Fleet(Campaign):
    """Servers without pools on one PostgreSQL, their clients, and workers that go to whichever server is there."""

    def __init__(self, folder: Path, seed: int, *, servers: int, command: Sequence[str] = JOBWIRE) -> None:
        super().__init__(folder, seed, command=command, app=None, lease_seconds=LEASE_SECONDS, deaf=True)
        self.postgres = PostgresServer()
        self.name = self.postgres.empty_database()
        self.counts: Counter[str] = Counter()
        self.workers: dict[str, RemoteWorker] = {}
        self.killed_us: dict[str, list[int]] = {}
        host, url = self.address.partition(":")[0], self.postgres.url(self.name)
        self.members = []
        for number in range(servers):
            proxy = PostgresProxy(folder / f"way-{number}", self.postgres.folder)
            way = url.replace(str(self.postgres.folder), str(proxy.folder))
            address, log = f"{host}:{FIRST_PORT + number}", folder / f"server-{number}.log"
            self.members.append(Member(f"server {number}", address, way, proxy, log))

    @property
    def commits_lost(self) -> int:
        """Answers to COMMITs that were kept back."""
        return sum(member.proxy.commits_lost for member in self.members)

    # --- lives ------------------------------------------------------------------------------------------------------

    async def begin(self, workers: int) -> None:
        """Start everybody."""
        await self.members[0].start(self.command)  # it makes the schema
        await asyncio.gather(*(member.start(self.command) for member in self.members[1:]))
        await asyncio.gather(*(self.hire(f"worker-{number}") for number in range(workers)))

    async def hire(self, name: str) -> None:
        """Start a worker that knows all servers, each in an order of its own."""
        self.workers[name] = await start_worker(self, name, slots=2, address=self.all_addresses())

    def all_addresses(self) -> str:
        """Where clients find a server: the first that answers, in an order that is drawn."""
        addresses = [member.address for member in self.members]
        self.chance.shuffle(addresses)
        return f"ipv4:{','.join(addresses)}"

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        """See `Campaign`: to any of the servers."""
        async with grpc.aio.insecure_channel(self.all_addresses(), options=[*RECONNECT_AT_ONCE]) as channel:
            yield channel

    async def end(self) -> list[int | None]:
        """End everybody in good order, and keep what remains; returns the exit codes of the servers."""
        await asyncio.gather(*(worker.end() for worker in self.workers.values()))
        codes = list(await asyncio.gather(*(member.finish() for member in self.members)))
        [(epoch, compacted)] = self.read("SELECT epoch, compacted FROM meta")
        self.images.append(read_store(self.read, epoch, compacted))
        return codes

    def read(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the database, past everything."""
        return self.postgres.read(self.name, statement)

    async def close(self) -> None:
        """See `Campaign`."""
        with suppress(AssertionError):
            await asyncio.gather(*(worker.destroy() for worker in self.workers.values()), return_exceptions=True)
        await asyncio.gather(*(member.kill() for member in self.members), return_exceptions=True)
        for member in self.members:
            member.proxy.close()
        await asyncio.to_thread(self.postgres.stop)
        self.recorder.close()

    def verdict(self) -> list[Violation]:
        """What the checker says of the joint history, and `db check` of the database."""
        evidence = Evidence(
            calls=read_calls(self.folder / "history.jsonl"),
            images=self.images,
            effects=read_effects(self.effects),
            finished=self.drained,
            logged_types=frozenset({*JOB_TYPES, *WIRE_TYPES}),
            answers=read_answers(self.answers),
            lease_us=round(LEASE_SECONDS * 1_000_000),
            killed_us=self.killed_us,
            deaf=True,
        )
        damage = [Violation("the store is sound", str(each)) for each in check_store(self.postgres.url(self.name))]
        return [*damage, *check(evidence)]


class Nemesis:
    """Breaks one thing after the other, so many of each, in an order that the seed decides."""

    def __init__(self, fleet: Fleet, faults: dict[str, int], lost_commits: int) -> None:
        self._fleet = fleet
        self._chance = random.Random(f"{fleet.seed} nemesis")
        self._faults = [fault for fault, count in faults.items() for _ in range(count)]
        self._chance.shuffle(self._faults)
        self._lost_commits = lost_commits

    async def run(self) -> None:
        """Break everything, and leave everything whole."""
        losing = asyncio.create_task(self._lose_commits())
        try:
            for fault in self._faults:
                await asyncio.sleep(self._chance.uniform(0.2, 0.9))
                await getattr(self, f"_{fault}")()
                self._fleet.counts[fault] += 1
            await losing
        finally:
            losing.cancel()

    async def _lose_commits(self) -> None:
        """Keep back the answer to a COMMIT, now on this way to the database, now on that."""
        while self._fleet.commits_lost < self._lost_commits:
            self._chance.choice(self._fleet.members).proxy.lose_commits(self._chance.randint(1, 3))
            await asyncio.sleep(self._chance.uniform(0.05, 0.5))
        for member in self._fleet.members:
            member.proxy.lose_commits(0)

    async def _crash_database(self) -> None:
        await asyncio.to_thread(self._fleet.postgres.kill)
        await asyncio.sleep(self._chance.uniform(0, 1))
        await asyncio.to_thread(self._fleet.postgres.start)

    async def _freeze_database(self) -> None:
        await asyncio.to_thread(self._fleet.postgres.freeze)
        await asyncio.sleep(self._chance.uniform(0.2, 3))
        await asyncio.to_thread(self._fleet.postgres.thaw)

    async def _end_sessions(self) -> None:
        with suppress(Exception):  # whoever ends them may find the database away
            await asyncio.to_thread(self._fleet.postgres.cut, self._fleet.name)

    async def _kill_server(self) -> None:
        member = self._chance.choice(self._fleet.members)
        await member.kill()
        await asyncio.sleep(self._chance.uniform(0, 1))
        await member.start(self._fleet.command)

    async def _kill_worker(self) -> None:
        name = self._chance.choice(sorted(self._fleet.workers))
        await self._fleet.workers.pop(name).destroy()
        self._fleet.killed_us.setdefault(name, []).append(now_us())
        await self._fleet.hire(name)

    async def _stop_worker(self) -> None:
        worker = self._fleet.workers[self._chance.choice(sorted(self._fleet.workers))]
        await worker.stop()
        await asyncio.sleep(self._chance.uniform(0.5, 1.5) * LEASE_SECONDS)
        worker.resume()
