"""A transport that somebody looks at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jobwire.worker.clock import Clock
from jobwire.worker.transport import (
    Ack,
    AckCode,
    Assignment,
    Hello,
    Inbox,
    LeaseState,
    LeaseUpdate,
    Outcome,
    OutcomeReport,
    Token,
    Transport,
    Welcome,
)


class Ended(NamedTuple):
    """The end of one assignment, as the server has recorded it."""

    assignment: Assignment
    outcome: Outcome | None
    """None = its lease was lost: nothing was recorded, or the process that ran it died."""
    seconds: float
    """Since it was assigned."""


class ObservedTransport:
    """Tells of each assignment how it ended. An outcome that the server refuses is told when it has taken another."""

    def __init__(self, transport: Transport, clock: Clock, on_end: Callable[[Ended], None]) -> None:
        self._transport = transport
        self._clock = clock
        self._on_end = on_end
        self._open: dict[Token, tuple[Assignment, float]] = {}

    async def open(self, hello: Hello, inbox: Inbox) -> Welcome:
        """See `Transport`."""
        return await self._transport.open(hello, _Inbox(inbox, self._take, self._lose))

    async def resize(self, max_in_flight: int) -> None:
        """See `Transport`."""
        await self._transport.resize(max_in_flight)

    async def report(self, reports: Sequence[OutcomeReport]) -> Sequence[Ack]:
        """See `Transport`."""
        acks = await self._transport.report(reports)
        for report, ack in zip(reports, acks, strict=True):
            match ack.code:
                case AckCode.RECORDED | AckCode.DUPLICATE:
                    self._end(report.token, report.outcome)
                case AckCode.LEASE_LOST:
                    self._end(report.token, None)
                case _:
                    continue
        return acks

    async def abandon(self, tokens: Sequence[Token]) -> None:
        """See `Transport`."""
        await self._transport.abandon(tokens)
        self._lose(tokens)

    async def update(self, updates: Sequence[LeaseUpdate]) -> Sequence[LeaseState]:
        """See `Transport`."""
        states = await self._transport.update(updates)
        self._look_at(states)
        return states

    async def close(self) -> None:
        """See `Transport`."""
        await self._transport.close()

    def _take(self, assignments: Sequence[Assignment]) -> None:
        now = self._clock.monotonic()
        self._open.update((assignment.token, (assignment, now)) for assignment in assignments)

    def _look_at(self, states: Sequence[LeaseState]) -> None:
        self._lose([state.token for state in states if not state.valid])

    def _lose(self, tokens: Sequence[Token]) -> None:
        for token in tokens:
            self._end(token, None)

    def _end(self, token: Token, outcome: Outcome | None) -> None:
        if (known := self._open.pop(token, None)) is not None:
            assignment, since = known
            self._on_end(Ended(assignment, outcome, self._clock.monotonic() - since))


class _Inbox:
    """Looks at what passes."""

    def __init__(
        self, inbox: Inbox, take: Callable[[Sequence[Assignment]], None], lose: Callable[[Sequence[Token]], None]
    ) -> None:
        self._inbox = inbox
        self._take = take
        self._lose = lose
        self.cancel = inbox.cancel
        self.drain = inbox.drain
        self.held = inbox.held
        self.refuse = inbox.refuse

    def assign(self, assignments: Sequence[Assignment]) -> None:
        """See `Inbox`."""
        self._take(assignments)
        self._inbox.assign(assignments)

    def lose(self, tokens: Sequence[Token]) -> None:
        """See `Inbox`."""
        self._lose(tokens)
        self._inbox.lose(tokens)

    def renewed(self, welcome: Welcome, states: Sequence[LeaseState]) -> None:
        """See `Inbox`."""
        self._lose([state.token for state in states if not state.valid])
        self._inbox.renewed(welcome, states)
