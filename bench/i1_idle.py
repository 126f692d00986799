"""I1: what waiting costs: a server alone, with one idle worker, with 500; and what those 500 cost a job."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import grpc

from bench.figure import Figure, Trial, percentile
from bench.latency import Latencies, latencies
from bench.process import Process, running
from bench.relay import relaying
from bench.server import Server, connected, serving, working

SECONDS = 30.0
SETTLE_SECONDS = 2.0
"""Between the last connection and the measurement."""
WORKERS = 500
SLOTS = 16
JOBS = 300
WORKER_CPU_SECONDS = 0.1
CROWD_CPU_SECONDS = 3.0
CROWD_KIB = 128
SLOWDOWN = 1.5


class One(NamedTuple):
    """One idle worker, per minute."""

    server_cpu_seconds: float
    cpu_seconds: float
    bytes: float
    """On the socket, both ways."""


class Crowd(NamedTuple):
    """Many idle workers."""

    server_cpu_seconds: float
    """Per minute."""
    server_kib: float
    """Resident memory of the server, for each."""
    beside: Latencies
    """Of jobs that somebody else runs."""
    among: Latencies
    """Of jobs that any of them may run."""


def measure(trial: Trial) -> Figure:
    """One after the other, on one server."""
    seconds, workers, jobs = trial.seconds(SECONDS), trial.count(WORKERS), trial.count(JOBS)
    with serving(trial.folder) as server:
        (alone,) = _idle(seconds, server)
        one = _one(trial, server, seconds)
        with working(trial.folder, server.address, slots=SLOTS):
            quiet = latencies(server.address, jobs)
        crowd = _crowd(trial, server)
    value = round(one.server_cpu_seconds - alone + one.cpu_seconds, 3)
    return Figure(
        value=value,
        unit="CPU-s a minute for an idle worker, the server's part included",
        reach=f"at most {WORKER_CPU_SECONDS} CPU-s a minute (multiplied by the canary); the server for {WORKERS}: "
        f"{CROWD_CPU_SECONDS}, and {CROWD_KIB} KiB for each; a job beside them p50 at most {SLOWDOWN} x",
        reached=_is_reached(value, alone, quiet, crowd, trial.canary),
        method=f"each watched for {seconds:g} s and scaled to a minute; `jobwire work` of {SLOTS} slots, its bytes "
        f"counted by a relay; the {workers} are raw Work streams of one process, each on its own connection",
        details=[
            f"server alone: {alone:.3f} CPU-s a minute",
            f"one idle worker: server {one.server_cpu_seconds:.3f}, it {one.cpu_seconds:.3f}; {one.bytes:,.0f} bytes",
            f"{workers} idle workers: server {crowd.server_cpu_seconds:.3f}, {crowd.server_kib:.0f} KiB of it for each",
            f"a job without them: {quiet}",
            f"a job of another type beside them: {crowd.beside}",
            f"a job that any of them may run: {crowd.among}",
        ],
    )


def _is_reached(worker: float, alone: float, quiet: Latencies, crowd: Crowd, canary: float) -> bool:
    slowest = max(percentile(found.to_handler, 0.5) for found in (crowd.beside, crowd.among))
    return (
        worker * canary <= WORKER_CPU_SECONDS
        and (crowd.server_cpu_seconds - alone) * canary <= CROWD_CPU_SECONDS
        and crowd.server_kib <= CROWD_KIB
        and slowest <= SLOWDOWN * percentile(quiet.to_handler, 0.5)
    )


def _idle(seconds: float, *processes: Process) -> list[float]:
    """CPU time of each, per minute."""
    time.sleep(min(SETTLE_SECONDS, seconds))
    before = [process.cpu_seconds() for process in processes]
    begin = time.perf_counter()
    time.sleep(seconds)
    scale = 60 / (time.perf_counter() - begin)
    return [(process.cpu_seconds() - spent) * scale for process, spent in zip(processes, before, strict=True)]


def _one(trial: Trial, server: Server, seconds: float) -> One:
    with (
        relaying(trial.folder, server.address) as relay,
        working(trial.folder, relay.address, slots=SLOTS) as (worker,),
    ):
        before, begin = relay.bytes, time.perf_counter()
        of_server, of_worker = _idle(seconds, server, worker)
        return One(of_server, of_worker, (relay.bytes - before) / (time.perf_counter() - begin) * 60)


def _crowd(trial: Trial, server: Server) -> Crowd:
    workers, jobs = trial.count(WORKERS), trial.count(JOBS)
    before = server.rss_mib()
    with _herd(trial, server, workers, "bench.nobody"):
        (of_server,) = _idle(trial.seconds(SECONDS), server)
        each_kib = (server.rss_mib() - before) / workers * 1024
        with working(trial.folder, server.address, slots=SLOTS):
            beside = latencies(server.address, jobs)
    with _herd(trial, server, workers, "bench.stamp"):
        among = latencies(server.address, jobs)
    return Crowd(of_server, each_kib, beside, among)


@contextmanager
def _herd(trial: Trial, server: Server, workers: int, job_type: str) -> Iterator[None]:
    """Raw workers of one type until the block ends; all are connected."""
    command = (sys.executable, "-m", "bench.herd", server.address, str(workers), job_type)
    with running(trial.folder / "herd.log", *command) as herd:
        with grpc.insecure_channel(server.address) as channel:
            herd.wait_until(lambda: _of_herd(channel, herd) == workers)
        yield


def _of_herd(channel: grpc.Channel, herd: Process) -> int:
    return sum(name.startswith(f"herd-{herd.pid}-") for name in connected(channel))
