"""A remote worker for the benchmarks: `python -m bench.worker ADDRESS SLOTS PREFETCH`; ends at SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import sys

from bench.app import app
from jobwire.settings import Settings
from jobwire.worker.runtime import RuntimeSettings, WorkerRuntime
from jobwire.worker.stream.transport import StreamTransport


async def work(address: str, slots: int, prefetch: int, name: str) -> None:
    """Run until told to end."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    runtime = WorkerRuntime(
        transport=StreamTransport(Settings(address=address)),
        handlers=app.handlers,
        slots=slots,
        worker_id=name,
        settings=RuntimeSettings(prefetch=prefetch),
    )
    await runtime.start()
    await runtime.resume()
    print("ready", flush=True)
    await stop.wait()
    await runtime.drain(5)
    await runtime.stop()


if __name__ == "__main__":
    import uvloop
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else "bench"))
