"""Worker processes of a campaign: started, stopped, continued, and never left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc
import psutil

from jobwire.v1 import job_pb2, job_service_pb2
from tests.helpers.history import digest
from tests.helpers.processes import REPOSITORY
from tests.torture.campaign import Campaign
from tests.torture.handlers import EFFECTS_VARIABLE
from tests.torture.witness import Write

PROGRAM: Final = (sys.executable, "-m", "tests.torture.worker_program")
PATIENCE_SECONDS: Final = 60.0
"""Longest wait for what must come, on a machine that is busy with other things."""


class Victim(NamedTuple):
    """The run whose write a worker was about to send when it stopped."""

    job_id: str
    fence: int


class RemoteWorker:
    """One process of `worker_program`."""

    def __init__(self, process: asyncio.subprocess.Process, name: str, log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log
        self._said: asyncio.Queue[str] = asyncio.Queue()
        self._listening = asyncio.ensure_future(self._listen())

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    async def says(self, *words: str, seconds: float = PATIENCE_SECONDS) -> list[str]:
        """Wait for a line that begins with one of `words`; returns what follows. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while True:
                first, *rest = (await self._said.get()).split()
                if first in words:
                    return rest
                if first == "gone":
                    raise AssertionError(f"worker {self.name} has ended:\n{self._log.read_text()[-3000:]}")

    async def stop_before(self, write: Write, seconds: float) -> Victim | None:
        """Have it stop right before it writes; returns when it stands, with what it was about to write. None when it
        had nothing of the kind to write for so long."""
        self._order(write)
        try:
            victim = await self.says("stopping", seconds=seconds)
        except TimeoutError:
            self._order(Write.NONE)
            victim = await self.says("stopping", "disarmed")
        if not victim:
            return None
        await self._stands()
        job_id, fence = victim
        return Victim(job_id, int(fence))

    async def stop(self) -> None:
        """Stop it wherever it is."""
        self._process.send_signal(signal.SIGSTOP)
        await self._stands()

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    async def end(self) -> None:
        """End it in good order; kill it when that takes long."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), timeout=20)
        await self.destroy()

    async def destroy(self) -> None:
        """Kill it and every process it left behind."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        await self._process.wait()
        await self._listening

    def _order(self, write: Write) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{write}\n".encode())

    async def _stands(self) -> None:
        while psutil.Process(self.pid).status() != psutil.STATUS_STOPPED:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.002)

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._said.put_nowait(line.decode())
        self._said.put_nowait("gone")


async def start_worker(
    campaign: Campaign, name: str, *, slots: int = 4, address: str = "", program: Sequence[str] = PROGRAM
) -> RemoteWorker:
    """Start a worker of the campaign's server (or of `address`) and wait until the server knows it."""
    log = campaign.folder / f"{name}.log"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), EFFECTS_VARIABLE: str(campaign.effects)}
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *program, address or campaign.address, name, str(campaign.answers), str(slots),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment, cwd=REPOSITORY,
            start_new_session=True,
        )  # fmt: skip
    worker = RemoteWorker(process, name, log)
    await worker.says("ready")
    return worker


@asynccontextmanager
async def workers(
    campaign: Campaign, count: int, *, name: str = "worker", slots: int = 4, program: Sequence[str] = PROGRAM
) -> AsyncIterator[list[RemoteWorker]]:
    """So many workers, all at work."""
    starting = [
        asyncio.ensure_future(start_worker(campaign, f"{name}-{number}", slots=slots, program=program))
        for number in range(count)
    ]
    try:
        yield list(await asyncio.gather(*starting))
    finally:
        await asyncio.wait(starting)
        started = [each.result() for each in starting if each.exception() is None]
        await asyncio.gather(*(worker.end() for worker in started))


async def submit_long_jobs(campaign: Campaign, channel: grpc.aio.Channel, *, count: int, ms: int) -> None:
    """Submit jobs whose handlers block a thread for so long, and write the calls down."""
    journal = campaign.journal("submitter", channel)
    for number in range(count):
        payload = json.dumps({"n": number, "ms": ms}).encode()
        spec = job_pb2.JobSpec(type="wire-thread", payload=job_pb2.Payload(data=payload))
        request = job_service_pb2.SubmitJobRequest(spec=spec, request_id=f"long-{number}")
        args = {"request_id": request.request_id, "payloads": [digest(payload)], "types": [spec.type]}
        await journal.call("submit", args, journal.stub.SubmitJob, request, _read)


def _read(response: job_service_pb2.SubmitJobResponse) -> dict[str, Any]:
    job = response.job
    return {
        "job_ids": [job.job_id],
        "created": [response.created],
        "seen": [[job.job_id, job.status.revision, job.status.state]],
    }
