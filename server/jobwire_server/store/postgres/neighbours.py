"""What goes on between servers: what others committed is told to this one, what this one committed to the others, and
each says that it is there.

The truth is the log, which is looked at every now and then (`poll_us`, jittered). NOTIFY makes it quicker and nothing
else: one at a time, at most twenty a second, on a connection of its own, since it takes a lock of the whole database
and must not stand in a transaction that writes jobs.
"""

from __future__ import annotations

import asyncio
import json
import select
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import psycopg

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.domain.job import SECOND_US, State
from jobwire_server.domain.lifecycle import Event, step
from jobwire_server.kernel.loop import Backoff
from jobwire_server.kernel.telemetry import Log, LogEvent
from jobwire_server.store.base import CommitNotice, Lane, ProgressNote
from jobwire_server.store.postgres.connection import Connection, sentence
from jobwire_server.store.postgres.patience import Patience
from jobwire_server.store.postgres.settings import PostgresSettings

Cursor = psycopg.Cursor[tuple[Any, ...]]

_CHANNEL: Final = "jobwire"
_BETWEEN_TWO_SECONDS: Final = 0.05
_FORGOTTEN: Final = 100_000
_STRETCH: Final = 5_000
"""Most events that are looked at in one statement."""
_FEW: Final = 1_000
"""Rows of a table for which any plan will do."""
_BACKOFF: Final = Backoff(first_seconds=0.1, factor=2.0, max_seconds=5.0)
_FENCED: Final = {State.CANCELLED: step(State.PROCESSING, Event.CANCEL).fence}
"""By how much the fence of a running job rises when it is ended by force: its holder knows the one before."""


class Stretch(NamedTuple):
    """Revisions that others have written: after the first, up to the last."""

    after: int
    upto: int


class Told(NamedTuple):
    """Who is told what; on the event loop, where nothing else is said."""

    notice: Callable[[CommitNotice], None]
    """What others committed."""
    reach: Callable[[bool], None]
    """Whether the database can be reached, at each change."""
    progress: Callable[[ProgressNote], None]
    """How far jobs are whose workers report to others."""
    time: Callable[[int], None]
    """What the database's clock says, at each look; called in the thread."""


class Neighbours:
    """A thread with a connection of its own. `start` and `stop` belong to the event loop."""

    def __init__(
        self,
        *,
        server: str,
        connect: Callable[[], Connection],
        queries: Mapping[str, str],
        settings: PostgresSettings,
        chance: Callable[[], float],
        log: Log,
        patience: Patience,
        told: Told,
    ) -> None:
        """`server` is our name where servers leave word for each other."""
        self._server = server
        self._connect = connect
        self._queries = queries
        self._settings = settings
        self._chance = chance
        self._log = log
        self._patience = patience
        self._told = told
        self._progress_mark = 0
        self._old_progress_mark = 0
        self._loop = asyncio.get_running_loop()
        self._guard = threading.Lock()
        self._seen = 0
        self._foreign: list[Stretch] = []
        self._untold: list[Stretch] = []
        """What this server has not been told of yet; the thread's own."""
        self._ours_after: int | None = None
        """While a commit of ours is on its way: the newest revision before it."""
        self._look_again = False
        self._tell = False
        self._stopping = threading.Event()
        self._instance_id: str | None = None
        self._present_until_us = 0
        self._count_at = 0
        self._connection: Connection | None = None
        self._failures = 0
        self._away = False
        self._awake, self._wake = socket.socketpair()
        self._awake.setblocking(False)
        self._wake.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="jobwire-neighbours", daemon=True)

    # --- called by others -----------------------------------------------------------------------------------------

    def start(self, revision: int) -> None:
        """Follow the log from a revision on."""
        self._seen = revision
        self._thread.start()

    async def stop(self) -> None:
        """Say good-bye and end the thread. Idempotent."""
        if self._thread.is_alive():
            self._stopping.set()
            self._rouse()
            await self._loop.run_in_executor(None, self._thread.join)
        self._wake.close()
        self._awake.close()

    def appear(self, instance_id: str) -> None:
        """Say that this instance is there, now and as long as the thread runs; returns when it is said.

        Called in some other thread. Raises `StoreUnavailable`.
        """
        try:
            with self._connect() as connection:
                self._say(connection, instance_id)
        except psycopg.Error as error:
            raise StoreUnavailable(
                f"PostgreSQL cannot be written: {sentence(error)}.", retry_after_us=500_000
            ) from error
        self._instance_id = instance_id

    @contextmanager
    def committing(self, before: int) -> Iterator[None]:
        """A commit of this server is on its way: what lies after `before` is not taken for the work of others, though
        it can be seen already. Called in the writing thread."""
        with self._guard:
            self._ours_after = before
        try:
            yield
        finally:
            with self._guard:
                self._ours_after = None
                again, self._look_again = self._look_again, False
            if again:
                self._rouse()

    def committed(self, before: int, newest: int) -> None:
        """This server has just committed the revisions after `before`, up to `newest`. Called in the writing thread."""
        with self._guard:
            if before > self._seen:
                self._foreign.append(Stretch(self._seen, before))
            self._seen = max(self._seen, newest)
            rouse = bool(self._foreign) or (self._settings.notify and not self._tell)
            self._tell = self._settings.notify
        if rouse:
            self._rouse()

    def _rouse(self) -> None:
        try:
            self._wake.send(b"x")
        except (BlockingIOError, OSError):
            return  # it is awake, or gone

    # --- in the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except (psycopg.Error, StoreUnavailable) as error:
                self._lost(error)
        self._say_good_bye()

    def _turn(self) -> None:
        connection = self._connection or self._open()
        self._wait(connection)
        self._look(connection)
        if self._tell and not self._stopping.is_set():
            self._tell = False
            self._ask(connection, f"NOTIFY {_CHANNEL}")
            self._stopping.wait(_BETWEEN_TWO_SECONDS)

    def _open(self) -> Connection:
        connection = self._connection = self._connect()
        if self._settings.notify:
            self._ask(connection, f"LISTEN {_CHANNEL}")
        # From here on: after a crash of the database the marks may begin anew.
        self._progress_mark = self._old_progress_mark = self._number(connection, "newest_progress")
        self._look(connection)
        self._failures = 0
        if self._away:
            self._away = False
            self._report(reached=True)
        return connection

    def _wait(self, connection: Connection) -> None:
        """Wait until something is to be told or heard, at most until it is time to look at the log again."""
        if self._heard(connection):
            return  # it came with the answer to our last question, so that the socket would not wake us for it
        seconds = self._settings.poll_us / SECOND_US * (0.5 + self._chance())
        select.select([self._awake.fileno(), connection.fileno()], [], [], seconds)
        self._drain_wakes()
        self._heard(connection)

    def _ask(self, connection: Connection, query: str, values: Mapping[str, object] | None = None) -> Cursor:
        """Execute a query of ours by its name, or a statement without a plan worth keeping."""
        with self._patience.of(connection, self._settings.silence_us / SECOND_US):
            if query in self._queries:
                return connection.execute(self._queries[query], values)
            return connection.execute(query, prepare=False)

    def _heard(self, connection: Connection) -> bool:
        """Take in what others have notified. That there was something says all; the log says the rest."""
        return sum(1 for _ in connection.notifies(timeout=0)) > 0

    def _drain_wakes(self) -> None:
        try:
            while self._awake.recv(4096):
                pass
        except BlockingIOError:
            return

    def _look(self, connection: Connection) -> None:
        """Tell this server what others have committed meanwhile."""
        row = self._ask(connection, "look").fetchone()
        if row is None:
            raise AssertionError("the store has no epoch: its row in jobwire.meta is gone")
        newest, now_us = row
        self._told.time(now_us)
        with self._guard:
            self._untold += self._foreign
            self._foreign = []
            if self._ours_after is not None and newest > self._ours_after:
                newest, self._look_again = self._ours_after, True
            if newest > self._seen:
                self._untold.append(Stretch(self._seen, newest))
                self._seen = newest
        while self._untold:
            told_upto = self._tell_of(connection, self._untold[0], now_us)
            # Only now: the connection may be lost in the middle, and the next one goes on here.
            upto = self._untold[0].upto
            self._untold[:1] = [Stretch(told_upto, upto)] if told_upto < upto else []
        self._look_for_progress(connection)
        if newest >= self._count_at:
            self._count_at = newest + _FEW
            self._count(connection)
        if self._instance_id is not None and now_us > self._present_until_us - self._settings.presence_us // 2:
            self._say(connection, self._instance_id)
            self._present_until_us = now_us + self._settings.presence_us
            self._forget_progress(connection)

    def _tell_of(self, connection: Connection, stretch: Stretch, now_us: int) -> int:
        """Tell of the first events of a stretch; return the last revision of which there is no more to tell."""
        values = {**stretch._asdict(), "limit": _STRETCH}
        lanes, cancelled, due_us, last = self._ask(connection, "foreign_events", values).fetchone() or (
            "[]",
            "[]",
            None,
            None,
        )
        if last is None:
            return stretch.upto
        notice = CommitNotice(
            self._seen,
            frozenset(Lane(*lane) for lane in json.loads(lanes)),
            tuple((key, fence - _FENCED.get(State(state), 0)) for key, fence, state in json.loads(cancelled)),
            None if due_us is None else max(0, due_us - now_us),
        )
        self._on_loop(self._told.notice, notice)
        return int(last)

    def _look_for_progress(self, connection: Connection) -> None:
        """Tell this server how far jobs are whose workers report to others."""
        values = {"after": self._progress_mark, "server": self._server, "limit": _STRETCH}
        mark, notes = self._ask(connection, "foreign_progress", values).fetchone() or (None, "[]")
        self._progress_mark = mark or self._progress_mark
        for note in json.loads(notes):
            self._on_loop(self._told.progress, ProgressNote(*note))

    def _forget_progress(self, connection: Connection) -> None:
        """Remove what was there the last time: whoever has not read it by now comes too late for it."""
        self._ask(connection, "forget_progress", {"upto": self._old_progress_mark, "limit": _FORGOTTEN})
        self._old_progress_mark = self._progress_mark

    def _number(self, connection: Connection, query: str) -> int:
        row = self._ask(connection, query).fetchone()
        return int(row[0]) if row else 0

    def _count(self, connection: Connection) -> None:
        """Have the tables counted that the database takes for empty, though jobs have come: for such a table it thinks
        every plan as good as any other, and autovacuum looks only once a minute. Plans that are kept are made again."""
        counted = self._ask(connection, "counted_rows").fetchone()
        if counted is not None and counted[0] < _FEW:
            self._ask(connection, "ANALYZE jobwire.job, jobwire.event, jobwire.label, jobwire.request_key")

    def _say(self, connection: Connection, instance_id: str) -> None:
        self._ask(connection, "appear", {"instance_id": instance_id, "presence_us": self._settings.presence_us})
        self._ask(connection, "forget_servers")

    def _say_good_bye(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if self._instance_id is not None:
                self._ask(connection, "disappear", {"instance_id": self._instance_id})
        except psycopg.Error as error:
            self._log.warning(LogEvent.STORE_LOST, error=sentence(error))  # it will be found dead instead
        finally:
            connection.close()

    def _lost(self, error: Exception) -> None:
        """The connection is lost: try again after a while, longer each time, no two servers at the same moments.

        One that was ended, or a statement that somebody's lock held up for long, says nothing of the database; that it
        takes no new connection does, and one that does not even refuse it is frozen: then nobody waits for it.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._failures += 1
        if isinstance(error.__cause__, psycopg.errors.ConnectionTimeout):
            self._patience.lose()
        if not self._away and (self._failures > 1 or isinstance(error, StoreUnavailable)):
            self._away = True
            self._log.warning(LogEvent.STORE_LOST, error=sentence(error))
            self._report(reached=False)
        self._stopping.wait(_BACKOFF.after(self._failures) * (0.5 + self._chance()))

    def _report(self, *, reached: bool) -> None:
        if reached:
            self._log.info(LogEvent.STORE_FOUND)
        self._on_loop(self._told.reach, reached)

    def _on_loop(self, call: Callable[[Any], None], argument: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, argument)
        except RuntimeError:
            return  # the loop has ended before its store
