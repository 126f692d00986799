"""The relay: takes rows, submits them, and marks what became of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from jobwire._requests import Submission
from jobwire.client import Client
from jobwire.durations import Duration, parse_duration
from jobwire.errors import Conflict, InvalidRequest, JobIdTaken, JobwireError
from jobwire.outbox.rows import Row

_log = logging.getLogger("jobwire.outbox")

BATCH_ROWS: Final = 500
POLL_SECONDS: Final = 1.0
FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 30.0


class Batch(Protocol):
    """Rows that this relay has in its hands."""

    @property
    def rows(self) -> Sequence[Row]:
        """The rows, in the order of their positions."""

    def settle(self, *, done: Sequence[str], refused: Sequence[tuple[str, str]]) -> None:
        """Remove the rows with the ids in `done`; keep the reason with those in `refused`, and take them no more."""


class OutboxTable(Protocol):
    """What a relay needs of a database. One for each relay."""

    def take(self, limit: int) -> AbstractContextManager[Batch]:
        """Take the first rows that wait, at most `limit`.

        Where the database has SKIP LOCKED they are locked, and passed by by other relays, until the context ends. Where
        it has not, two relays may take the same rows, which costs a submit and does no harm. What `settle` was told is
        committed when the context ends, unless it ends with an error.
        """


@dataclass(frozen=True, slots=True)
class Relayed:
    """What one round of a relay did."""

    submitted: int = 0
    """Rows that have their job: made now, or found, since an earlier round had made it."""
    refused: int = 0
    """Rows that the server will never take; each has the reason beside it."""
    waiting: int = 0
    """Rows that could not be submitted now, and were left for the next round."""
    error: JobwireError | None = None
    """Why they were left."""

    @property
    def taken(self) -> int:
        """Rows in all."""
        return self.submitted + self.refused + self.waiting


class Relay:
    """Submits the rows of one outbox, oldest first. Any number of relays may work on it.

    Exactly one job for each row, whatever dies when: a row is removed only after its job is on the server's disk, and a
    submit that is repeated finds the job of the first. The server remembers keys for 24 hours and as long as the job,
    and job ids for 30 days after the job is gone: a row that lies between its submit and its removal for longer than
    that would be a second job.
    """

    def __init__(self, table: OutboxTable, client: Client, *, batch_rows: int = BATCH_ROWS) -> None:
        """`batch_rows`: most rows of one round, and so of one transaction."""
        self._table = table
        self._client = client
        self._batch_rows = batch_rows
        self._stopped = threading.Event()

    def once(self) -> Relayed:
        """Submit the rows that wait, at most `batch_rows`. Raises what the database raises; never JobwireError."""
        with self._table.take(self._batch_rows) as batch:
            relayed, done, refused = self._submit(batch.rows)
            if done or refused:
                batch.settle(done=done, refused=refused)
        for row_id, reason in refused:
            _log.error("Row %s of the outbox cannot be submitted, and was set aside: %s", row_id, reason)
        return relayed

    def run(self, *, poll: Duration = POLL_SECONDS) -> None:
        """Submit until `stop`. An empty outbox is looked at every `poll`; while the server is away, or full, the pauses
        grow to 30 s, and nothing is lost. Raises what the database raises."""
        poll_seconds = parse_duration(poll, name="poll").total_seconds()
        pause = FIRST_PAUSE_SECONDS
        while not self._stopped.is_set():
            relayed = self.once()
            if relayed.error is not None:
                _log.warning("%d rows of the outbox wait: %s", relayed.waiting, relayed.error)
                self._stopped.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                continue
            pause = FIRST_PAUSE_SECONDS
            if relayed.taken < self._batch_rows:
                self._stopped.wait(poll_seconds)

    def stop(self) -> None:
        """End `run` after the round it is in. Safe from any thread, and from a signal handler."""
        self._stopped.set()

    def _submit(self, rows: Sequence[Row]) -> tuple[Relayed, list[str], list[tuple[str, str]]]:
        done: list[str] = []
        refused: list[tuple[str, str]] = []
        submissions: list[Submission] = []
        ids: list[str] = []
        for row in rows:
            try:
                submissions.append(row.submission())
                ids.append(row.id)
            except ValueError as damage:
                refused.append((row.id, str(damage)))
        waiting = 0
        cause: JobwireError | None = None
        results = self._client.submit_many(submissions) if submissions else []
        for row_id, result in zip(ids, results, strict=True):
            error = result.error
            if error is None or isinstance(error, JobIdTaken):
                # The id is the row's own: whoever took it was an earlier submit of it, whose key is forgotten.
                done.append(row_id)
            elif isinstance(error, InvalidRequest | Conflict):
                refused.append((row_id, f"{error.code}: {error}"))
            else:
                waiting, cause = waiting + 1, cause or error
        return Relayed(len(done), len(refused), waiting, cause), done, refused
