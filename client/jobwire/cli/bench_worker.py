"""A worker of `jobwire bench e2e`, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self

from jobwire.app import App
from jobwire.settings import Settings
from jobwire.worker.process import Ears, WorkerSettings, work
from jobwire.worker.stream.transport import StreamTransport
from jobwire.worker.transport import Subscription

_SLOTS = 64


class BenchWorker:
    """Entered: the server knows the worker. Left: it has drained. Raises what ended it before."""

    def __init__(self, connection: Settings, queue: str, job_type: str) -> None:
        self._connection = connection
        self._queue = queue
        self._job_type = job_type
        self._known = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="bench-worker", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._known.wait()
        except BaseException:
            self._stop()
            raise
        self._raise_error()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        if error is None:
            self._raise_error()

    def _stop(self) -> None:
        if self._loop is not None and self._task is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._work())
        except asyncio.CancelledError:
            pass  # asked to, by _stop
        except BaseException as error:  # noqa: BLE001 - raised in the thread that entered
            self._error = error
        finally:
            self._known.set()

    async def _work(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        app = App("bench")

        @app.job(self._job_type)
        async def answer(data: str) -> None:
            """Do nothing: what is measured is the service."""

        settings = WorkerSettings(slots=_SLOTS, queues=(Subscription(self._queue),), grace_seconds=1.0)
        ears = Ears(on_ready=lambda _worker_id: self._known.set())
        await work(app.handlers, StreamTransport(self._connection), settings, ears=ears)
