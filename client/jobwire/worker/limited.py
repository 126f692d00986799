"""A transport that takes so many jobs and no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jobwire.worker.transport import (
    Ack,
    Hello,
    Inbox,
    LeaseState,
    LeaseUpdate,
    Outcome,
    OutcomeReport,
    Release,
    Token,
    Transport,
    Welcome,
)


class LimitedTransport:
    """Lets `most` assignments end, and tells `on_last` when they have. One that is given back does not count.

    The window shrinks before an outcome is reported, not after: no assignment can slip in between.
    """

    def __init__(self, transport: Transport, most: int, on_last: Callable[[], None]) -> None:
        self._transport = transport
        self._most = most
        self._on_last = on_last
        self._ended: set[Token] = set()
        self._wanted = 0

    async def open(self, hello: Hello, inbox: Inbox) -> Welcome:
        """See `Transport`."""
        return await self._transport.open(hello._replace(max_in_flight=min(hello.max_in_flight, self._most)), inbox)

    async def resize(self, max_in_flight: int) -> None:
        """See `Transport`."""
        self._wanted = max_in_flight
        await self._transport.resize(min(max_in_flight, self._most - len(self._ended)))

    async def report(self, reports: Sequence[OutcomeReport]) -> Sequence[Ack]:
        """See `Transport`."""
        await self._count([token for token, outcome in reports if not _is_given_back(outcome)])
        acks = await self._transport.report(reports)
        self._tell()
        return acks

    async def abandon(self, tokens: Sequence[Token]) -> None:
        """See `Transport`."""
        await self._count(tokens)
        await self._transport.abandon(tokens)
        self._tell()

    async def update(self, updates: Sequence[LeaseUpdate]) -> Sequence[LeaseState]:
        """See `Transport`."""
        return await self._transport.update(updates)

    async def close(self) -> None:
        """See `Transport`."""
        await self._transport.close()

    async def _count(self, tokens: Sequence[Token]) -> None:
        before = len(self._ended)
        self._ended.update(tokens)
        if len(self._ended) > before:
            await self.resize(self._wanted)

    def _tell(self) -> None:
        if len(self._ended) >= self._most:
            self._on_last()


def _is_given_back(outcome: Outcome) -> bool:
    return isinstance(outcome, Release) and not outcome.delay_seconds
