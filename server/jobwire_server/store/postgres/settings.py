"""What the PostgreSQL driver can be told besides. Durations in microseconds."""

from __future__ import annotations

from dataclasses import dataclass

from jobwire_server.domain.job import SECOND_US
from jobwire_server.store.settings import StoreSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings(StoreSettings):
    """Bounds of a store in a database that other servers use as well; the defaults are the service's."""

    connect_timeout_us: int = 5 * SECOND_US
    lock_timeout_us: int = 10 * SECOND_US
    """Longest wait for the other writers. Beyond it the verbs of the group are told STORE_UNAVAILABLE."""
    statement_timeout_us: int = 30 * SECOND_US
    idle_timeout_us: int = 5 * SECOND_US
    """A server that stops in the middle of a transaction is cut off by the database after this, so that it does not
    hold up the others for longer."""
    silence_us: int = 5 * SECOND_US
    """A database that says nothing for so long, and takes no new connection either, stands still: whoever waits for it
    is told STORE_UNAVAILABLE, or that the outcome is unknown."""
    presence_us: int = 20 * SECOND_US
    """A server that has not been heard of for so long is dead: what its in-process workers ran goes back."""
    poll_us: int = SECOND_US // 4
    """What other servers committed is looked for at least this often (times 0.5 to 1.5), notified or not."""
    notify: bool = True
    """Tell other servers of commits, and listen to them. Off = `poll_us` alone, for a pooler that drops LISTEN."""
    prepare: bool = True
    """Let the database keep the plans of statements. Off behind a pooler in transaction mode."""

    @property
    def answer_seconds(self) -> float:
        """Longest wait for anything: the database gives up by itself before, if it lives."""
        return (self.lock_timeout_us + self.statement_timeout_us + self.silence_us) / SECOND_US
