"""Starting what is measured: `jobwire serve` and `jobwire work`, and the servers that they are held against."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.process import Child, Process, running
from jobwire.v1 import admin_service_pb2
from jobwire.v1.admin_service_pb2_grpc import AdminServiceStub

JOBWIRE = str(Path(sys.executable).with_name("jobwire"))
APP = "bench.app:app"


class Server(Process):
    """A server, SERVING on a Unix socket."""

    def __init__(self, pid: int, address: str, start_seconds: float) -> None:
        super().__init__(pid)
        self.address = address
        self.start_seconds = start_seconds
        """From the start of the process to health SERVING."""


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[Server]:
    """Run `jobwire serve` on the store `bench.db` in `folder` until the block ends."""
    with serving_at(folder, str(folder / "bench.db"), *arguments) as server:
        yield server


@contextmanager
def serving_at(folder: Path, database: str, *arguments: str) -> Iterator[Server]:
    """Run `jobwire serve` on a store until the block ends."""
    with _listening(folder, JOBWIRE, "serve", "--db", database, *arguments) as server:
        yield server


@contextmanager
def echoing(folder: Path) -> Iterator[Server]:
    """Run the bare echo."""
    with _listening(folder, sys.executable, "-m", "bench.echo") as server:
        yield server


@contextmanager
def tireless(folder: Path) -> Iterator[Server]:
    """Run the server that a worker's cost is measured against."""
    with _listening(folder, sys.executable, "-m", "bench.tireless") as server:
        yield server


@contextmanager
def working(folder: Path, address: str, *, slots: int, workers: int = 1) -> Iterator[list[Child]]:
    """Run `jobwire work` processes with the handlers of the benchmarks until the block ends; all are connected."""
    command = (JOBWIRE, "--address", address, "--quiet", "work", APP, "--slots", str(slots), "--grace", "5s")
    names = [f"bench-{os.urandom(4).hex()}" for _ in range(workers)]
    with ExitStack() as stack:
        log = folder / "worker.log"
        started = [stack.enter_context(running(log, *command, "--worker-id", name)) for name in names]
        with grpc.insecure_channel(address) as channel:
            for child in started:
                child.wait_until(lambda: connected(channel).issuperset(names))
        yield started


def connected(channel: grpc.Channel) -> set[str]:
    """Names of the workers whose streams are open. Those that left a while ago are listed, too: there may be pages."""
    names: set[str] = set()
    request = admin_service_pb2.ListWorkersRequest(page_size=1000)
    while True:
        answer = AdminServiceStub(channel).ListWorkers(request, timeout=30)
        names.update(worker.worker_id for worker in answer.workers if worker.connected)
        if not answer.next_page_token:
            return names
        request.page_token = answer.next_page_token


@contextmanager
def _listening(folder: Path, *command: str) -> Iterator[Server]:
    socket = folder / f"{os.urandom(4).hex()}.sock"
    address = f"unix:{socket}"
    begin = time.perf_counter()
    with running(folder / "server.log", *command, "--listen", address) as child:
        child.wait_until(lambda: socket.exists() and _is_serving(address))
        yield Server(child.pid, address, time.perf_counter() - begin)


def _is_serving(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1)
        except grpc.RpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
