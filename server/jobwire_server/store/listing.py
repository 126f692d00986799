"""Which statement serves a list: one keyset scan per value of the condition that narrows most, merged by age."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from jobwire_server.domain.job import State
from jobwire_server.store.base import JobFilter, ListQuery

NEWEST: Final = (1 << 63) - 1
_COMMON_STATES: Final = frozenset({State.PENDING, State.COMPLETED})


class Dialect(NamedTuple):
    """Where the databases differ in what is put together here."""

    mark: str
    """Stands for a value."""
    join: str
    """A join that is done in the order in which it is written."""
    each_text: str
    """The table `r (value)` of the texts in one JSON array."""
    by_index: str
    """Says which index to read ("{}" is its name), where the database has to be told."""
    by_key: str
    """Says that the primary key is to be read."""
    identity: str = "job"
    """The table that is looked into by id, queue, type or batch. It has the job's key."""

    def its_job(self) -> str:
        """The rest of a FROM that began with `identity`: what adds the job itself."""
        return "" if self.identity == "job" else f" {self.join} job ON job.key = {self.identity}.key"


FirstRow = Callable[..., tuple[Any, ...] | None]
"""Runs a statement by name and returns its first row."""


def create_bounds(first_row: FirstRow, wanted: JobFilter, before_key: int | None) -> tuple[int, int]:
    """Turn conditions on the creation time into bounds of the key (low inclusive, high exclusive).

    Keys rise with creation times, so a binary search over the primary key serves them without an index of their own.
    """
    low, high = 0, NEWEST if before_key is None else before_key
    if wanted.create_time_min_us is not None:
        low = _first_key_at(first_row, wanted.create_time_min_us)
    if wanted.create_time_max_us is not None:
        high = min(high, _first_key_at(first_row, wanted.create_time_max_us))
    return low, high


def _first_key_at(first_row: FirstRow, time_us: int) -> int:
    """The smallest key of which all later jobs were created at or after `time_us`."""
    newest = first_row("newest_key")
    low, high = 0, ((newest[0] if newest else None) or 0) + 1
    while low < high:
        middle = (low + high) // 2
        row = first_row("created_from", key=middle)
        if row is None or row[0] >= time_us:
            high = middle
        else:
            low = middle + 1
    return low


def list_statement(
    dialect: Dialect, tenant: str, query: ListQuery, columns: str, *, low: int, high: int
) -> tuple[str, Sequence[object]]:
    """Build the statement for a page (one row more than asked, to know whether there is a next page)."""
    conditions, values = _residual(query.filter)
    parts: list[str] = []
    bound: list[object] = []
    for number, driver in enumerate(_drivers(dialect, tenant, query.filter)):
        parts.append(
            f"SELECT k FROM (SELECT {driver.table}.key AS k FROM {driver.source} WHERE {driver.where} "  # noqa: S608
            f"AND {driver.table}.key >= ? AND {driver.table}.key < ?"
            f"{conditions} ORDER BY {driver.table}.key DESC LIMIT ?) AS scan_{number}"
        )
        bound += [*driver.values, low, high, *values, query.limit + 1]
    union = " UNION ALL ".join(parts)
    listed = ", ".join(f"job.{column.strip()}" for column in columns.split(","))
    statement = (
        f"SELECT {listed} FROM (SELECT k FROM ({union}) AS scans ORDER BY k DESC LIMIT ?) AS page "  # noqa: S608
        f"{dialect.join} job ON job.key = page.k ORDER BY page.k DESC"
    )
    return statement.replace("?", dialect.mark), [*bound, query.limit + 1]


class _Driver(NamedTuple):
    """One scan: an index seek for a value of the most selective condition."""

    table: str
    """Whose key the index is ordered by."""
    source: str
    where: str
    values: Sequence[object]


def _drivers(dialect: Dialect, tenant: str, wanted: JobFilter) -> list[_Driver]:
    if wanted.batch_id:
        return _scans(dialect, tenant, "batch", "batch_id", [wanted.batch_id])
    if wanted.labels:
        source = f"label {dialect.join} job ON job.key = label.key"
        where = "label.tenant = ? AND label.name = ? AND label.value = ?"
        return [_Driver("job", source, where, [tenant, *next(iter(wanted.labels.items()))])]
    rare_states = bool(wanted.states) and _COMMON_STATES.isdisjoint(wanted.states)
    if wanted.types and not rare_states:
        return _scans(dialect, tenant, "type", "type", wanted.types)
    if wanted.queues and not rare_states:
        return _scans(dialect, tenant, "queue", "queue", wanted.queues)
    if wanted.states:
        return [_of_state(dialect, tenant, state) for state in dict.fromkeys(wanted.states)]
    return [_Driver("job", "job" + dialect.by_key, "job.tenant = ?", [tenant])]


def _scans(dialect: Dialect, tenant: str, index: str, column: str, values: Sequence[str]) -> list[_Driver]:
    table = dialect.identity
    source = table + dialect.by_index.format(f"job_{index}") + dialect.its_job()
    where = f"{table}.tenant = ? AND {table}.{column} = ?"
    return [_Driver(table, source, where, [tenant, one]) for one in dict.fromkeys(values)]


def _of_state(dialect: Dialect, tenant: str, state: State) -> _Driver:
    # The number stands in the text: a partial index serves only what is known to lie in it.
    return _Driver(
        "job", "job" + dialect.by_index.format("job_state"), f"job.tenant = ? AND job.state = {int(state)}", [tenant]
    )


def _residual(wanted: JobFilter) -> tuple[str, list[object]]:
    """The conditions again, all of them, for the rows of each scan."""
    text = ""
    values: list[object] = []
    for column, wanted_values in (("queue", wanted.queues), ("type", wanted.types), ("state", wanted.states)):
        if wanted_values:
            text += f" AND job.{column} IN ({', '.join('?' * len(wanted_values))})"
            values += [int(value) if isinstance(value, State) else value for value in wanted_values]
    if wanted.batch_id:
        text += " AND job.batch_id = ?"
        values.append(wanted.batch_id)
    for name, value in wanted.labels.items():
        text += (
            " AND EXISTS (SELECT 1 FROM label WHERE tenant = job.tenant AND name = ? AND value = ? AND key = job.key)"
        )
        values += [name, value]
    return text, values
