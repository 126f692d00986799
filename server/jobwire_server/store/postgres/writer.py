"""The writing thread of PostgreSQL: one transaction for each group, and what becomes of it when the database fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import psycopg

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.kernel.failpoint import Failpoint
from jobwire_server.kernel.telemetry import LogEvent
from jobwire_server.store.base import CommitNotice
from jobwire_server.store.postgres.connection import SESSION_WAS_CHANGED, Connection, away, behind_a_pooler, sentence
from jobwire_server.store.postgres.neighbours import Neighbours
from jobwire_server.store.postgres.patience import Patience
from jobwire_server.store.postgres.transaction import WriterState
from jobwire_server.store.verbs.intent import Intent, Rank, by_verb, store_full
from jobwire_server.store.verbs.writer import GroupWriter

_RETRY_US: Final = 500_000

_WAITED_TOO_LONG: Final = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
    psycopg.errors.SerializationFailure,
)


class OutcomeUnknown(StoreUnavailable):
    """The COMMIT was sent and never answered: it may have happened, or not."""


class Writer(GroupWriter):
    """Owns the writing connection; makes a new one when it is lost."""

    def __init__(
        self,
        connection: Connection,
        state: WriterState,
        *,
        reconnect: Callable[[], Connection],
        failpoint: Failpoint,
        on_notice: Callable[[CommitNotice], None],
        neighbours: Neighbours,
        patience: Patience,
    ) -> None:
        super().__init__(settings=state.settings, on_notice=on_notice)
        self._connection = connection
        self._state = state
        self._reconnect = reconnect
        self._failpoint = failpoint
        self._neighbours = neighbours
        self._patience = patience
        self.start()

    def _close(self) -> None:
        self._connection.close()

    def _write(self, group: list[Intent]) -> None:
        try:
            notice = self._commit_once_more(group)
        except Exception as error:  # noqa: BLE001 - nothing is lost: each kind has its answer
            self._take_failure(group, error)
            return
        self._answer(group, notice)

    def _commit_once_more(self, group: Sequence[Intent]) -> CommitNotice | None:
        """Commit, and do it over when the connection was lost before the COMMIT: then nothing has happened."""
        try:
            return self._commit(group)
        except psycopg.Error as error:
            if not (self._connection.closed or isinstance(error, _WAITED_TOO_LONG[:1])):
                raise
        for intent in group:
            intent.answer = None
        return self._commit(group)

    def _commit(self, group: Sequence[Intent]) -> CommitNotice | None:
        """One transaction for the group; nothing is answered before it is durable."""
        if self._connection.closed:
            self._connection = self._reconnect()
        with self._patience.of(self._connection, self._state.settings.answer_seconds):
            return self._commit_in_time(group)

    def _commit_in_time(self, group: Sequence[Intent]) -> CommitNotice | None:
        transaction = self._state.begin(self._connection)
        try:
            self._failpoint("group.after_begin")
            for apply, intents in by_verb(group):
                apply(transaction, intents)
            self._failpoint("group.before_commit")
        except BaseException:
            self._roll_back()
            raise
        before = transaction.began_at.revision
        with self._neighbours.committing(before):
            self._send_commit()
            self._neighbours.committed(before, transaction.revision)
        notice = self._state.committed(transaction)
        try:
            self._failpoint("group.after_commit")
            self._failpoint("submit.before_reply")
        except Exception as error:
            raise OutcomeUnknown(f"The answer was lost after the commit: {error}.") from error
        return notice

    def _send_commit(self) -> None:
        try:
            status = self._connection.execute("COMMIT", prepare=False).statusmessage
        except psycopg.errors.IdleInTransactionSessionTimeout:
            raise  # we were too slow, and the database had given up on us before the COMMIT came: nothing has happened
        except psycopg.Error as error:
            if not self._connection.closed:
                self._roll_back()
                raise
            raise OutcomeUnknown(
                "The connection to PostgreSQL broke during the COMMIT, so that nobody can tell whether it happened: "
                "ask again with the same request_id.",
                retry_after_us=_RETRY_US,
            ) from error
        if status != "COMMIT":
            raise AssertionError(f"PostgreSQL answered a COMMIT with {status}")

    def _roll_back(self) -> None:
        """End the transaction; where that cannot be said, end the connection, and the database does it."""
        try:
            self._connection.execute("ROLLBACK", prepare=False)
        except psycopg.Error:
            self._connection.close()

    def _take_failure(self, group: list[Intent], error: Exception) -> None:
        """Answer a group that cannot be answered with success."""
        match error:
            case StoreUnavailable():
                self._refuse(group, error)
            case _ if isinstance(error, SESSION_WAS_CHANGED):
                self._state.log.error(LogEvent.STORE_LOST, error=str(behind_a_pooler()))
                self._refuse(group, behind_a_pooler())
            case psycopg.errors.DiskFull():
                self._refuse_on_full_disk(group)
            case psycopg.Error() if self._connection.closed:
                self._refuse_lost(group, error)
            case psycopg.errors.ReadOnlySqlTransaction() | psycopg.errors.CannotConnectNow():
                self._connection.close()  # it is a standby now: the next connection finds the primary, or says so
                self._refuse_lost(group, error)
            case _ if isinstance(error, _WAITED_TOO_LONG):
                busy = "The store is busy: other servers, or a session that holds a lock, kept it waiting too long."
                self._refuse(group, StoreUnavailable(busy, retry_after_us=_RETRY_US))
            case _ if len(group) > 1:
                self._write_one_by_one(group)  # it belongs to one intent: the others shall not suffer
            case _:
                self._refuse(group, error)

    def _refuse_lost(self, group: Sequence[Intent], error: Exception) -> None:
        self._state.log.warning(LogEvent.STORE_LOST, error=sentence(error))
        self._refuse(group, away())

    def _refuse_on_full_disk(self, group: list[Intent]) -> None:
        """New work is refused; what lets running jobs finish may need less room."""
        entering = [intent for intent in group if intent.rank == Rank.SUBMIT]
        others = [intent for intent in group if intent.rank != Rank.SUBMIT]
        self._refuse(entering, store_full())
        if others and (entering or len(others) > 1):
            self._write_one_by_one(others)
        else:
            self._refuse(others, StoreUnavailable("The disk is full: free space.", retry_after_us=2 * _RETRY_US))
