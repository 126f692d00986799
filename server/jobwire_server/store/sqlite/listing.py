"""Which statement serves a list: one keyset scan per value of the condition that narrows most, merged by age."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import apsw

from jobwire_server.domain.job import State
from jobwire_server.store.base import JobFilter, ListQuery

NEWEST: Final = (1 << 63) - 1
_COMMON_STATES: Final = frozenset({State.PENDING, State.COMPLETED})


def create_bounds(connection: apsw.Connection, wanted: JobFilter, before_key: int | None) -> tuple[int, int]:
    """Turn conditions on the creation time into bounds of the key (low inclusive, high exclusive).

    Keys rise with creation times, so a binary search over the primary key serves them without an index of their own.
    """
    low, high = 0, NEWEST if before_key is None else before_key
    if wanted.create_time_min_us is not None:
        low = _first_key_at(connection, wanted.create_time_min_us)
    if wanted.create_time_max_us is not None:
        high = min(high, _first_key_at(connection, wanted.create_time_max_us))
    return low, high


def _first_key_at(connection: apsw.Connection, time_us: int) -> int:
    """The smallest key of which all later jobs were created at or after `time_us`."""
    newest = connection.execute("SELECT max(key) FROM job").fetchone()
    low, high = 0, ((newest[0] if newest else None) or 0) + 1
    while low < high:
        middle = (low + high) // 2
        row = connection.execute("SELECT create_us FROM job WHERE key >= ? ORDER BY key LIMIT 1", (middle,)).fetchone()
        if row is None or row[0] >= time_us:
            high = middle
        else:
            low = middle + 1
    return low


def list_statement(tenant: str, query: ListQuery, columns: str, *, low: int, high: int) -> tuple[str, Sequence[object]]:
    """Build the statement for a page (one row more than asked, to know whether there is a next page)."""
    conditions, values = _residual(query.filter)
    parts: list[str] = []
    bound: list[object] = []
    for source, driver, driver_values in _drivers(tenant, query.filter):
        parts.append(
            f"SELECT * FROM (SELECT job.key AS k FROM {source} WHERE {driver} AND job.key >= ? AND job.key < ?"  # noqa: S608
            f"{conditions} ORDER BY job.key DESC LIMIT ?)"
        )
        bound += [*driver_values, low, high, *values, query.limit + 1]
    union = " UNION ALL ".join(parts)
    listed = ", ".join(f"job.{column.strip()}" for column in columns.split(","))
    statement = (
        f"SELECT {listed} FROM (SELECT k FROM ({union}) ORDER BY k DESC LIMIT ?) AS page "  # noqa: S608
        "CROSS JOIN job ON job.key = page.k ORDER BY page.k DESC"
    )
    return statement, [*bound, query.limit + 1]


def _drivers(tenant: str, wanted: JobFilter) -> list[tuple[str, str, list[object]]]:
    """(FROM, WHERE, values) of each scan: an index seek per value of the most selective condition."""
    if wanted.batch_id:
        return [("job INDEXED BY job_batch", "job.tenant = ? AND job.batch_id = ?", [tenant, wanted.batch_id])]
    if wanted.labels:
        name, value = next(iter(wanted.labels.items()))
        source = "label CROSS JOIN job ON job.key = label.key"
        where = "label.tenant = ? AND label.name = ? AND label.value = ?"
        return [(source, where, [tenant, name, value])]
    rare_states = bool(wanted.states) and _COMMON_STATES.isdisjoint(wanted.states)
    if wanted.types and not rare_states:
        return [
            ("job INDEXED BY job_type", "job.tenant = ? AND job.type = ?", [tenant, one])
            for one in dict.fromkeys(wanted.types)
        ]
    if wanted.queues and not rare_states:
        return [
            ("job INDEXED BY job_queue", "job.tenant = ? AND job.queue = ?", [tenant, one])
            for one in dict.fromkeys(wanted.queues)
        ]
    if wanted.states:
        where = "job.tenant = ? AND job.state = ?"
        return [("job INDEXED BY job_state", where, [tenant, int(one)]) for one in dict.fromkeys(wanted.states)]
    return [("job NOT INDEXED", "job.tenant = ?", [tenant])]


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
