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
    for number, (source, driver, driver_values) in enumerate(_drivers(dialect, tenant, query.filter)):
        parts.append(
            f"SELECT k FROM (SELECT job.key AS k FROM {source} WHERE {driver} AND job.key >= ? AND job.key < ?"  # noqa: S608
            f"{conditions} ORDER BY job.key DESC LIMIT ?) AS scan_{number}"
        )
        bound += [*driver_values, low, high, *values, query.limit + 1]
    union = " UNION ALL ".join(parts)
    listed = ", ".join(f"job.{column.strip()}" for column in columns.split(","))
    statement = (
        f"SELECT {listed} FROM (SELECT k FROM ({union}) AS scans ORDER BY k DESC LIMIT ?) AS page "  # noqa: S608
        f"{dialect.join} job ON job.key = page.k ORDER BY page.k DESC"
    )
    return statement.replace("?", dialect.mark), [*bound, query.limit + 1]


def _drivers(dialect: Dialect, tenant: str, wanted: JobFilter) -> list[tuple[str, str, list[object]]]:
    """(FROM, WHERE, values) of each scan: an index seek per value of the most selective condition."""
    if wanted.batch_id:
        source = "job" + dialect.by_index.format("job_batch")
        return [(source, "job.tenant = ? AND job.batch_id = ?", [tenant, wanted.batch_id])]
    if wanted.labels:
        name, value = next(iter(wanted.labels.items()))
        source = f"label {dialect.join} job ON job.key = label.key"
        where = "label.tenant = ? AND label.name = ? AND label.value = ?"
        return [(source, where, [tenant, name, value])]
    rare_states = bool(wanted.states) and _COMMON_STATES.isdisjoint(wanted.states)
    if wanted.types and not rare_states:
        return _scans(dialect, tenant, "type", wanted.types)
    if wanted.queues and not rare_states:
        return _scans(dialect, tenant, "queue", wanted.queues)
    if wanted.states:
        return _scans(dialect, tenant, "state", [int(one) for one in wanted.states])
    return [("job" + dialect.by_key, "job.tenant = ?", [tenant])]


def _scans(dialect: Dialect, tenant: str, column: str, values: Sequence[object]) -> list[tuple[str, str, list[object]]]:
    source = "job" + dialect.by_index.format(f"job_{column}")
    return [(source, f"job.tenant = ? AND job.{column} = ?", [tenant, one]) for one in dict.fromkeys(values)]


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
