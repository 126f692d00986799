"""Moving house: a whole store is carried from one database to another, with ids, history and revisions.

Rows go table by table, in the order of their keys, a batch in a transaction: so what the target holds says how far it
has got, and a move that was killed goes on there. Until it is whole nobody serves the target. In the end every row of
both is read again and compared.

What arrives is a copy: the first server that opens it begins a new life (store/sqlite/lives.py), so that old cursors
and old workers are told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final, NamedTuple, Protocol

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.store.audit import Problem

Row = Sequence[Any]
Key = tuple[Any, ...]
Progress = Callable[[int, int], None]
"""Told how many rows are done, and how many there are."""

BATCH_ROWS: Final = 5_000
BATCH_BYTES: Final = 8 << 20


class Table(NamedTuple):
    """A table that belongs to a store, in every driver."""

    name: str
    key: tuple[str, ...]
    """Columns that lead an index and name a row; both databases sort them alike (texts as their bytes)."""


TABLES: Final = (
    Table("secret", ("purpose",)),
    Table("job", ("key",)),
    Table("label", ("tenant", "name", "value", "key")),
    Table("content", ("id",)),
    Table("attempt", ("key", "fence")),
    Table("checkpoint", ("key",)),
    Table("event", ("revision",)),
    Table("request_key", ("tenant", "request_id")),
    Table("tombstone", ("tenant", "id")),
)


class Facts(NamedTuple):
    """What is true of a store as a whole, and tells it from another, or from itself at another time."""

    epoch: str
    revision: int
    compacted: int
    fence_floor: int

    def mark(self) -> str:
        """What stands in a target that is not whole yet."""
        return json.dumps(self._asdict())


class Source(Protocol):
    """A store that nobody serves, as one snapshot. Raises `StoreUnavailable`."""

    def facts(self) -> Facts:
        """What it is."""

    def columns(self, table: Table) -> Sequence[str]:
        """The columns of a table, in its own order."""

    def count(self, table: Table) -> int:
        """Number of rows."""

    def rows(self, table: Table, columns: Sequence[str], after: Key | None) -> Iterator[Row]:
        """The rows in the order of the key, beginning after one of them; few of them in memory."""


class Target(Source, Protocol):
    """A store that comes to be."""

    def begin(self, facts: Facts) -> None:
        """Take the store on, or go on with it. Raises `StoreUnavailable` when there is something else here."""

    def newest(self, table: Table) -> Key | None:
        """Key of the last row that has arrived."""

    def put(self, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Add rows, all or none, durably."""

    def finish(self, facts: Facts, read_us: int) -> None:
        """Make it whole: a copy whose content was read at `read_us`, which a server may open."""


class CopyDiffers(StoreUnavailable):
    """What arrived is not what was sent. The target stays as it is, for whoever wants to see why; nobody serves it."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(
            f"What arrived differs from what was sent: {problem.table} {problem.row}: {problem.problem}. "
            "If the source has been used meanwhile, remove what has arrived and begin anew."
        )


class Carried(NamedTuple):
    """What a move did."""

    facts: Facts
    rows: Mapping[str, int]
    """Rows by table, all of them compared."""
    resumed: bool
    """It went on with what an earlier move had brought."""


def carry(source: Source, target: Target, *, now_us: Callable[[], int], progress: Progress) -> Carried:
    """Carry everything, compare every row, and make the target a whole store. Raises `StoreUnavailable`."""
    facts, read_us = source.facts(), now_us()
    target.begin(facts)
    columns = {table.name: _columns(source, target, table) for table in TABLES}
    counts = {table.name: source.count(table) for table in TABLES}
    total, done = sum(counts.values()), sum(target.count(table) for table in TABLES)
    resumed = done > 0
    for table in TABLES:
        for batch in _batches(source.rows(table, columns[table.name], target.newest(table))):
            target.put(table, columns[table.name], batch)
            done += len(batch)
            progress(done, total)
    for table in TABLES:
        _compare(source, target, table, columns[table.name])
    target.finish(facts, read_us)
    return Carried(facts, counts, resumed)


def _columns(source: Source, target: Target, table: Table) -> Sequence[str]:
    columns = source.columns(table)
    if set(columns) != set(target.columns(table)):
        raise AssertionError(f"the drivers do not agree on the columns of {table.name}")
    return columns


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += sum(len(value) for value in row if isinstance(value, bytes))
        if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _compare(source: Source, target: Target, table: Table, columns: Sequence[str]) -> None:
    places = [columns.index(name) for name in table.key]
    for sent, arrived in zip_longest(source.rows(table, columns, None), target.rows(table, columns, None)):
        if sent is not None and arrived is not None and tuple(sent) == tuple(arrived):
            continue
        row = sent if sent is not None else arrived
        name = ", ".join(f"{columns[place]} {row[place]}" for place in places)
        raise CopyDiffers(Problem(table.name, name, _difference(sent, arrived, columns)))


def _difference(sent: Row | None, arrived: Row | None, columns: Sequence[str]) -> str:
    if sent is None:
        return "it is there, and was not sent"
    if arrived is None:
        return "it is missing"
    differing = [name for name, ours, theirs in zip(columns, sent, arrived, strict=True) if ours != theirs]
    return f"it has another {', '.join(differing)}, or is another row"
