"""Starting what is measured: a real `jobwire serve` process, and a bare grpc.aio echo beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

ROOT = Path(__file__).resolve().parent.parent
JOBWIRE = Path(sys.executable).with_name("jobwire")


class Running:
    """A process that listens on a Unix socket."""

    def __init__(self, process: subprocess.Popen[bytes], address: str, start_seconds: float) -> None:
        self.process = process
        self.address = address
        self.start_seconds = start_seconds
        """From the start of the process to health SERVING."""

    def rss_mib(self) -> float:
        """Resident memory of the process."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("the process does not tell its memory")


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[Running]:
    """Run `jobwire serve` on a store in `folder` until the block ends."""
    command = [str(JOBWIRE), "serve", "--db", str(folder / "bench.db"), *arguments]
    with _process(folder, command) as running:
        yield running


@contextmanager
def echoing(folder: Path) -> Iterator[Running]:
    """Run the bare echo."""
    with _process(folder, [sys.executable, "-m", "bench.echo"]) as running:
        yield running


@contextmanager
def tireless(folder: Path) -> Iterator[Running]:
    """Run the server that a worker's cost is measured against."""
    with _process(folder, [sys.executable, "-m", "bench.tireless"]) as running:
        yield running


@contextmanager
def _process(folder: Path, command: list[str]) -> Iterator[Running]:
    socket = folder / f"{os.urandom(4).hex()}.sock"
    address = f"unix:{socket}"
    log = (folder / "server.log").open("ab")
    begin = time.perf_counter()
    process = subprocess.Popen([*command, "--listen", address], cwd=ROOT, stderr=log, stdout=log)
    try:
        _wait_until_serving(process, socket, address, folder / "server.log")
        yield Running(process, address, time.perf_counter() - begin)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _wait_until_serving(process: subprocess.Popen[bytes], socket: Path, address: str, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended: {log.read_text(encoding='utf-8')[-2000:]}")
        if socket.exists():
            with grpc.insecure_channel(address) as channel:
                try:
                    reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1)
                except grpc.RpcError:
                    reply = None
            if reply is not None and reply.status == health_pb2.HealthCheckResponse.SERVING:
                return
        time.sleep(0.005)
    raise RuntimeError("the server did not become ready in 120 s")
