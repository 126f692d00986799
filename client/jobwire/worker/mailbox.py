"""From any thread to one event loop, one wake-up per burst."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Collects what threads post, and delivers it on the loop as lists.

    Bounded by its senders: each of them has at most a few letters under way.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, deliver: Callable[[list[T]], None]) -> None:
        self._loop = loop
        self._deliver = deliver
        self._letters: deque[T] = deque()
        self._signalled = False

    def post(self, letter: T) -> None:
        """Deliver soon. Safe from any thread; once the loop is closed, letters go nowhere."""
        self._letters.append(letter)
        # The loop clears the flag before it looks, the sender sets it after it put: no letter is left behind.
        if not self._signalled:
            self._signalled = True
            try:
                self._loop.call_soon_threadsafe(self._empty)
            except RuntimeError:  # the loop is closed: nobody is left who could use the letter
                self._letters.clear()

    def _empty(self) -> None:
        self._signalled = False
        letters = self._letters
        self._deliver([letters.popleft() for _ in range(len(letters))])
