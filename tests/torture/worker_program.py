"""A remote worker of the campaigns: the real runtime, with a witness between it and the wire.

`python -m tests.torture.worker_program ADDRESS WORKER_ID ANSWERS SLOTS`. It takes orders on stdin (`outcome`, `beat`,
`progress`: stop before the next such write; `none`) and says on stdout what it does (`ready`, `stopping JOB FENCE`,
`answered`, `disarmed`).
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading

from jobwire._channel import open_aio_channel
from jobwire.settings import Settings
from jobwire.v1 import worker_service_pb2_grpc
from jobwire.worker.process import Ears, WorkerSettings, work
from jobwire.worker.stream.transport import StreamTransport
from tests.torture.wire_handlers import app
from tests.torture.witness import Witness, Write


def say(text: str) -> None:
    """Tell the campaign, in one write."""
    os.write(1, f"{text}\n".encode())


async def main(address: str, worker_id: str, answers: str, slots: int) -> None:
    """Work until a signal ends it."""
    connection = Settings(address=address, origin="argument")
    async with open_aio_channel(connection) as channel:
        twin = worker_service_pb2_grpc.WorkerServiceStub(channel)
        witness = Witness(StreamTransport(connection), twin, answers, worker_id)
        witness.say = say
        loop = asyncio.get_running_loop()

        def listen() -> None:
            for line in sys.stdin:
                loop.call_soon_threadsafe(witness.stop_before, Write(line.strip()))

        threading.Thread(target=listen, daemon=True).start()
        await work(
            app.handlers,
            witness,
            WorkerSettings(slots=slots, worker_id=worker_id, grace_seconds=5, prefetch=0),
            ears=Ears(on_ready=lambda _worker_id: say("ready")),
        )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
