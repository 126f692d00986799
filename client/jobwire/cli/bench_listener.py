"""A watcher of `jobwire bench watch`, in a thread of its own."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from jobwire.cli.server import Server
from jobwire.errors import CallTimeout, JobwireError
from jobwire.v1 import job_pb2
from jobwire.v1 import job_service_pb2 as pb

_PATIENCE_SECONDS = 10.0


class Listener:
    """Hears the events of a queue and keeps the moment of each job's first one. Entered: the stream is open."""

    def __init__(self, server: Server, queue: str) -> None:
        self._server = server
        self._queue = queue
        self._heard: dict[str, float] = {}
        self._news = threading.Condition()
        self._is_open = False
        self._error: JobwireError | None = None
        self._thread = threading.Thread(target=self._listen, name="bench-listener", daemon=True)

    def __enter__(self) -> Self:
        self._server.__enter__()
        self._thread.start()
        with self._news:
            self._news.wait_for(lambda: self._is_open or self._error is not None, timeout=_PATIENCE_SECONDS)
        if self._error is not None:
            raise self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)  # closes the channel, which ends the stream
        self._thread.join(timeout=_PATIENCE_SECONDS)

    def wait_for(self, job_id: str) -> float:
        """Return the moment (monotonic seconds) at which the job was first heard of. Raises JobwireError."""
        with self._news:
            self._news.wait_for(lambda: job_id in self._heard or self._error is not None, timeout=_PATIENCE_SECONDS)
            if (moment := self._heard.pop(job_id, None)) is not None:
                return moment
        raise self._error or CallTimeout(f"No event of job {job_id} within {_PATIENCE_SECONDS:g} s.")

    def _listen(self) -> None:
        request = pb.WatchJobsRequest(filter=job_pb2.JobFilter(queues=[self._queue]), send_initial_state=True)
        try:
            for response in self._server.watch(request, seconds=None):
                moment = self._server.clock.monotonic()
                with self._news:
                    self._is_open = self._is_open or response.initial_state_complete
                    for event in response.events:
                        self._heard.setdefault(event.job_id, moment)
                    self._news.notify_all()
        except JobwireError as error:
            with self._news:
                self._error = error
                self._news.notify_all()
