"""Payloads and results on their way into the store: small ones in one blob for the rows, large ones in one beside."""

from __future__ import annotations

import json
from collections.abc import Collection

from jobwire_server.domain.job import Content
from jobwire_server.store.verbs.transaction import Transaction


class Contents:
    """Collects the data of a commit group, so that it goes in with one statement per table, not per row."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._inline_limit = transaction.settings.inline_content_bytes
        self._inline: list[bytes] = []
        self._inline_size = 0
        self._apart: list[bytes] = []
        self._apart_size = 0
        self._places: list[tuple[int, int, int]] = []

    def place(self, content_id: int, content: Content) -> int | None:
        """Take the data; return its offset in `inline()`, None when it will stand apart under `content_id`."""
        data = content.data
        size = len(data)
        if size <= self._inline_limit:
            offset = self._inline_size + 1
            self._inline.append(data)
            self._inline_size += size
            return offset
        self._places.append((content_id, self._apart_size + 1, size))
        self._apart.append(data)
        self._apart_size += size
        return None

    def mark(self) -> tuple[int, ...]:
        """How much has been taken so far, for `undo`."""
        return len(self._inline), self._inline_size, len(self._apart), self._apart_size

    def undo(self, mark: tuple[int, ...]) -> None:
        """Forget what was taken since `mark`."""
        inline, self._inline_size, apart, self._apart_size = mark
        del self._inline[inline:], self._apart[apart:], self._places[apart:]

    def keep(self, content_ids: Collection[int]) -> None:
        """Of what stands apart, forget all but this."""
        self._places = [place for place in self._places if place[0] in content_ids]

    def inline(self) -> bytes:
        """The blob that the rows take their data from; offsets count from 1."""
        return b"".join(self._inline)

    def insert_apart(self) -> None:
        """Write what stands apart from its row."""
        if self._places:
            self._transaction.run("insert_contents", rows=json.dumps(self._places), content=b"".join(self._apart))
