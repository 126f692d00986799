"""Watching jobs through cuts and server restarts, event message by event message."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from jobwire._ambient import Clock
from jobwire._following import Contact, is_cut
from jobwire.cli.faults import CliError
from jobwire.cli.server import Server
from jobwire.errors import Draining, JobwireError, PositionLost, StreamAge
from jobwire.v1 import job_service_pb2 as pb


class Deadline:
    """An end of waiting, or none."""

    def __init__(self, limit: timedelta | None, clock: Clock) -> None:
        self.limit = limit
        self._clock = clock
        self._end = None if limit is None else clock.monotonic() + limit.total_seconds()

    def remaining_seconds(self) -> float | None:
        """Seconds left, at least 0; None = no end."""
        return None if self._end is None else max(self._end - self._clock.monotonic(), 0.0)

    @property
    def is_over(self) -> bool:
        """True when no time is left."""
        return self.remaining_seconds() == 0.0

    def fault(self, job_ids: Sequence[str]) -> CliError:
        """The error that tells people where the job is now."""
        seconds = 0.0 if self.limit is None else self.limit.total_seconds()
        if not job_ids:
            return CliError(
                "WAIT_TIMEOUT", f"the {seconds:g} s of --timeout are over", details={"timeout_seconds": seconds}
            )
        shown = job_ids[0] if len(job_ids) == 1 else "ID"
        goes = "the job goes on" if len(job_ids) == 1 else "the jobs go on"
        return CliError(
            "WAIT_TIMEOUT",
            f"waited {seconds:g} s, and it is not over: {goes}",
            hints=[f"look:        jobwire job get {shown}", f"wait more:   jobwire wait {shown}"],
            details={"job_ids": list(job_ids), "timeout_seconds": seconds},
        )


class Follower:
    """One logical watch over as many streams as it takes.

    Yields every event once per job and revision, PROGRESS and DELETED as they come. A lost place in the log
    (compaction, another store) is answered by the current state of things. Ends when the server has said all that it
    was asked for.
    """

    def __init__(
        self, server: Server, request: pb.WatchJobsRequest, *, deadline: Deadline, on_cut: Callable[[str], None]
    ) -> None:
        self._server = server
        self._request = request
        self._deadline = deadline
        self._on_cut = on_cut
        patience = None if server.has_answered else server.call_seconds
        self._contact = Contact(
            first_seconds=server.call_seconds,
            patience_seconds=patience,
            now=server.clock.monotonic(),
            chance=server.chance,
        )
        self._newest: dict[str, int] = {}  # only of jobs named by id, at most 1,000
        self._in_snapshot = request.send_initial_state
        if request.include_progress:
            request.bookmark_interval.seconds = 1  # the server sends progress once in each of these, and 15 s is slow
        self._is_draining = False
        self._was_cut = False

    def saw(self, job_id: str, revision: int) -> None:
        """Tell of a revision already shown, so that it is not repeated."""
        self._newest[job_id] = revision

    def events(self) -> Iterator[pb.JobEvent]:
        """Yield events. Raises CliError and JobwireError."""
        for response in self.responses():
            yield from response.events

    def responses(self) -> Iterator[pb.WatchJobsResponse]:
        """Yield responses with the events not yielded before; bookmarks, which have none, too."""
        while True:
            self._is_draining = False
            self._contact.opened(self._now())
            try:
                yield from self._one_stream()
            except JobwireError as error:
                self._wait(self._pause_after(error))
                continue
            if self._request.until_all_terminal and not self._is_draining:
                return
            self._wait(self._contact.pause(None, self._now(), at_once=True))

    def _one_stream(self) -> Iterator[pb.WatchJobsResponse]:
        for response in self._server.watch(self._request, seconds=self._deadline.remaining_seconds()):
            self._contact.answered(self._now())
            if self._was_cut:
                self._was_cut = False
                self._on_cut("connected again")
            self._is_draining = response.draining
            fresh = [event for event in response.events if self._is_new(event)]
            del response.events[:]
            response.events.extend(fresh)
            yield response
            self._advance(response)  # only now: the reader came back, so it has taken the events

    def _is_new(self, event: pb.JobEvent) -> bool:
        if not self._request.job_ids or event.event_type == pb.JOB_EVENT_TYPE_PROGRESS:
            return True
        is_snapshot = event.event_type == pb.JOB_EVENT_TYPE_SNAPSHOT
        if is_snapshot and event.revision <= self._newest.get(event.job_id, -1):
            return False
        self._newest[event.job_id] = event.revision
        return True

    def _advance(self, response: pb.WatchJobsResponse) -> None:
        self._in_snapshot = self._in_snapshot and not response.initial_state_complete
        if not self._in_snapshot and response.HasField("cursor"):
            self._request.send_initial_state = False
            self._request.after.CopyFrom(response.cursor)

    def _pause_after(self, error: JobwireError) -> float:
        """Return how long to wait for the next stream in seconds, or raise what people must know."""
        if self._deadline.is_over:
            raise self._deadline.fault(list(self._request.job_ids)) from error
        if isinstance(error, PositionLost):
            self._start_over()
            return 0.0
        if not is_cut(error) or not self._server.has_answered:
            raise error
        at_once = self._is_draining or isinstance(error, Draining | StreamAge)
        if not at_once and not self._was_cut:
            self._was_cut = True
            self._on_cut("connection lost; connecting again")
        return self._contact.pause(error, self._now(), at_once=at_once)

    def _start_over(self) -> None:
        self._on_cut("the server no longer has this place in its log; going on from the current state")
        self._request.ClearField("after")
        self._request.send_initial_state = True
        self._in_snapshot = True
        self._newest.clear()  # another store may count from the start

    def _now(self) -> float:
        return self._server.clock.monotonic()

    def _wait(self, pause_seconds: float) -> None:
        left = self._deadline.remaining_seconds()
        self._server.pause(pause_seconds if left is None else min(pause_seconds, left))
        if self._deadline.is_over:
            raise self._deadline.fault(list(self._request.job_ids))
