"""A server in memory, for tests of the worker runtime: leases what it is offered, keeps every outcome."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jobwire.payload import Payload
from jobwire.worker.transport import (
    Ack,
    AckCode,
    Assignment,
    CancelOrder,
    Hello,
    Inbox,
    LeaseState,
    LeaseUpdate,
    Outcome,
    OutcomeReport,
    Welcome,
)


class ScriptedTransport:
    """Implements `jobwire.worker.transport.Transport`.

    Tokens are numbers, in the order of offering. An assignment leaves the window when its outcome is acknowledged.
    """

    def __init__(
        self, *, lease_seconds: float = 30.0, heartbeat_seconds: float = 10.0, cancel_grace_seconds: float = 5.0
    ) -> None:
        self.welcome = Welcome(lease_seconds, heartbeat_seconds, cancel_grace_seconds)
        self.hello: Hello | None = None
        self.inbox: Inbox | None = None
        self.closed = False
        self.windows: list[int] = []
        self.reports: list[Sequence[OutcomeReport]] = []
        self.updates: list[Sequence[LeaseUpdate]] = []
        self.outcomes: dict[int, Outcome] = {}
        """First acknowledged outcome by token."""
        self.abandoned: list[int] = []
        self.most_outstanding = 0
        self.answer: Callable[[OutcomeReport], AckCode] = lambda report: AckCode.RECORDED
        self.before_report: Callable[[], None] = lambda: None
        """May raise, to play a broken connection."""
        self.before_update: Callable[[], None] = lambda: None
        self.commits = asyncio.Event()
        """Clear it to hold every report back."""
        self.commits.set()
        self.cancel_requested: set[int] = set()
        self._tokens = itertools.count(1)
        self._offered: deque[Assignment] = deque()
        self._leased: dict[int, Assignment] = {}
        self._changed = asyncio.Event()

    # The tests' side.

    def offer(self, job_type: str, payload: bytes | Payload | None = None, **facts: Any) -> int:
        """Queue one job; returns its token."""
        return self.offer_many(job_type, 1, payload, **facts)[0]

    def offer_many(
        self,
        job_type: str,
        count: int,
        payload: bytes | Payload | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        attempt: int = 1,
        timeout_seconds: float | None = None,
        **facts: Any,
    ) -> list[int]:
        """Queue jobs, then assign what the window has room for."""
        if isinstance(payload, bytes):
            payload = Payload(payload)
        tokens = [next(self._tokens) for _ in range(count)]
        self._offered.extend(
            Assignment(
                token=token, job_id=f"job-{token}", queue="default", type=job_type, attempt=attempt, max_attempts=20,
                fence=token * 10, payload=payload, headers=headers or {},
                lease_seconds=self.welcome.lease_seconds, timeout_seconds=timeout_seconds, **facts,
            )
            for token in tokens
        )  # fmt: skip
        self._assign()
        return tokens

    async def outcome(self, token: int) -> Outcome:
        """Wait until this lease has an acknowledged outcome."""
        await self.until(lambda: token in self.outcomes)
        return self.outcomes[token]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something that the runtime did makes this true."""
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    def order_cancel(self, token: int, reason: str = "") -> None:
        """Ask the runtime to stop this job."""
        assert self.inbox is not None
        self.inbox.cancel([CancelOrder(token, reason, self.welcome.cancel_grace_seconds)])

    def revoke(self, *tokens: int) -> None:
        """End these leases, and tell the runtime."""
        assert self.inbox is not None
        for token in tokens:
            self._leased.pop(token, None)
        self.inbox.lose(tokens)
        self._assign()

    def forget(self, token: int) -> None:
        """End a lease without telling anyone."""
        del self._leased[token]

    @property
    def leased(self) -> set[int]:
        """Tokens of leases that stand."""
        return set(self._leased)

    # The runtime's side.

    async def open(self, hello: Hello, inbox: Inbox) -> Welcome:
        self.hello, self.inbox = hello, inbox
        return self.welcome

    async def resize(self, max_in_flight: int) -> None:
        self.windows.append(max_in_flight)
        self._assign()
        self._changed.set()

    async def report(self, reports: Sequence[OutcomeReport]) -> Sequence[Ack]:
        self.before_report()
        self.reports.append(reports)
        self._changed.set()
        await self.commits.wait()
        acks = []
        for report in reports:
            token = report.token
            assert isinstance(token, int)
            code = self.answer(report)
            if code is AckCode.RECORDED and self._leased.pop(token, None) is None:
                code = AckCode.DUPLICATE if token in self.outcomes else AckCode.LEASE_LOST
            if code is AckCode.RECORDED:
                self.outcomes[token] = report.outcome
            acks.append(Ack(token, code, "the script says so"))
        self._assign()
        self._changed.set()
        return acks

    async def abandon(self, tokens: Sequence[bytes | int]) -> None:
        for token in tokens:
            assert isinstance(token, int)
            self._leased.pop(token, None)
            self.abandoned.append(token)
        self._assign()
        self._changed.set()

    async def update(self, updates: Sequence[LeaseUpdate]) -> Sequence[LeaseState]:
        self.before_update()
        self.updates.append(updates)
        self._changed.set()
        return [
            LeaseState(one.token, one.token in self._leased, one.token in self.cancel_requested,
                       self.welcome.lease_seconds)
            for one in updates
        ]  # fmt: skip

    async def close(self) -> None:
        self.closed = True

    def _assign(self) -> None:
        window = self.windows[-1] if self.windows else 0
        batch = []
        while self._offered and len(self._leased) < window:
            assignment = self._offered.popleft()
            assert isinstance(assignment.token, int)
            self._leased[assignment.token] = assignment
            batch.append(assignment)
        self.most_outstanding = max(self.most_outstanding, len(self._leased))
        if batch and self.inbox is not None:
            self.inbox.assign(batch)
