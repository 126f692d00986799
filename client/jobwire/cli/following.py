"""Watching jobs through cuts and server restarts: the resume rules of WatchJobs, for a command line."""

from __future__ import annotations

import random  # noqa: TID251 - jitter of reconnects; a parameter of Follower
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from jobwire.cli.faults import CliError
from jobwire.cli.server import Refused, Server, rest
from jobwire.v1 import job_service_pb2 as pb

_LOST_PLACE = frozenset({"REVISION_COMPACTED", "REVISION_IN_FUTURE", "STORE_EPOCH_CHANGED"})
_REOPEN_AT_ONCE = frozenset({"DRAINING", "STREAM_AGE"})
_REOPEN_LATER = frozenset({"SLOW_CONSUMER", "TOO_MANY_STREAMS", "NOT_READY", "STORE_UNAVAILABLE"})
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0


class Deadline:
    """An end of waiting, or none."""

    def __init__(self, limit: timedelta | None) -> None:
        self.limit = limit
        self._end = None if limit is None else _monotonic() + limit.total_seconds()

    def remaining_seconds(self) -> float | None:
        """Seconds left, at least 0; None = no end."""
        return None if self._end is None else max(self._end - _monotonic(), 0.0)

    @property
    def is_over(self) -> bool:
        """True when no time is left."""
        return self.remaining_seconds() == 0.0

    def fault(self, job_ids: Sequence[str]) -> CliError:
        """The error that tells people where the job is now."""
        assert self.limit is not None
        shown = job_ids[0] if len(job_ids) == 1 else "ID"
        goes = "the job goes on" if len(job_ids) == 1 else "the jobs go on"
        return CliError(
            "WAIT_TIMEOUT",
            f"waited {self.limit.total_seconds():g} s, and it is not over: {goes}",
            hints=[f"look:        jobwire job get {shown}", f"wait more:   jobwire wait {shown}"],
            details={"job_ids": list(job_ids)},
        )


def _monotonic() -> float:
    return time.monotonic()  # noqa: TID251 - the command line's clock for limits of waiting


class Follower:
    """One logical watch over as many streams as it takes.

    Yields every event once per job and revision, PROGRESS and DELETED as they come. A lost place in the log
    (compaction, another store) is answered by a new initial state. Ends when the server ends the stream with OK.
    """

    def __init__(
        self,
        server: Server,
        request: pb.WatchJobsRequest,
        *,
        deadline: Deadline,
        on_cut: Callable[[str], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._server = server
        self._request = request
        self._deadline = deadline
        self._on_cut = on_cut
        self._chance = chance
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._newest: dict[str, int] = {}
        self._complete = not request.send_initial_state
        self._connected = False
        self.cursor: pb.WatchCursor | None = request.after if request.HasField("after") else None

    def saw(self, job_id: str, revision: int) -> None:
        """Tell of a revision already shown, so that it is not repeated."""
        self._newest[job_id] = max(revision, self._newest.get(job_id, 0))

    def responses(self) -> Iterator[pb.WatchJobsResponse]:
        """Yield responses with events not yielded before; empty ones (bookmarks) too. Raises CliError."""
        while True:
            try:
                yield from self._one_stream()
                return
            except Refused as refusal:
                self._consider(refusal)

    def events(self) -> Iterator[pb.JobEvent]:
        """Yield events."""
        for response in self.responses():
            yield from response.events

    def _one_stream(self) -> Iterator[pb.WatchJobsResponse]:
        for response in self._server.watch(self._request, seconds=self._deadline.remaining_seconds()):
            self._connected = True
            self._pause_seconds = _FIRST_PAUSE_SECONDS
            fresh = [event for event in response.events if self._is_new(event)]
            del response.events[:]
            response.events.extend(fresh)
            yield response
            self._advance(response)

    def _is_new(self, event: pb.JobEvent) -> bool:
        if event.event_type == pb.JOB_EVENT_TYPE_PROGRESS:
            return True
        if event.event_type == pb.JOB_EVENT_TYPE_SNAPSHOT and event.revision <= self._newest.get(event.job_id, 0):
            return False
        if self._request.job_ids:  # a watch by filter may go on for ever: it remembers nothing per job
            self._newest[event.job_id] = event.revision
        return True

    def _advance(self, response: pb.WatchJobsResponse) -> None:
        """Store the cursor only now: the reader has taken the events (it came back for more)."""
        self._complete = self._complete or response.initial_state_complete
        if self._complete and response.HasField("cursor"):
            self.cursor = response.cursor
            self._request.send_initial_state = False
            self._request.after.CopyFrom(response.cursor)

    def _consider(self, refusal: Refused) -> None:
        """Prepare the next stream, or raise what people are told."""
        if refusal.reason in _LOST_PLACE:
            self._on_cut("the server no longer has the place in its log; starting again from the current state")
            self._request.ClearField("after")
            self._request.send_initial_state = True
            self._complete = False
            return
        if refusal.grpc_code == "DEADLINE_EXCEEDED" and self._deadline.is_over:
            raise self._deadline.fault(list(self._request.job_ids)) from refusal
        if refusal.is_cut and not self._connected:
            raise self._server.fault(refusal) from refusal
        self._pause_for(refusal)

    def _pause_for(self, refusal: Refused) -> None:
        if refusal.reason in _REOPEN_AT_ONCE:
            rest(self._chance() * _FIRST_PAUSE_SECONDS)
            return
        if not (refusal.is_cut or refusal.reason in _REOPEN_LATER or refusal.grpc_code == "DEADLINE_EXCEEDED"):
            raise self._server.fault(refusal) from refusal
        if self._pause_seconds == _FIRST_PAUSE_SECONDS:
            self._on_cut("connection lost; reconnecting")
        limit = self._deadline.remaining_seconds()
        pause = self._chance() * self._pause_seconds
        rest(pause if limit is None else min(pause, limit))
        if self._deadline.is_over:
            raise self._deadline.fault(list(self._request.job_ids)) from refusal
        self._pause_seconds = min(self._pause_seconds * 1.6, _LONGEST_PAUSE_SECONDS)
