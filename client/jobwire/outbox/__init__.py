"""Outbox: jobs that are submitted if, and only if, a transaction of your own database commits.

    outbox = SqlAlchemyOutbox(metadata)                    # or DbApiOutbox(...), or jobwire.integrations.django.outbox

    with Session(engine) as session, session.begin():      # your transaction
        session.add(order)
        job_id = outbox.add(session, "order.ship", {"order": order.id})

    with Client() as client:                               # a process of its own
        Relay(outbox.table(engine), client).run()

`add` writes a row beside your data: both are committed, or neither. A relay submits the rows with their ids as job id
and as idempotency key, and then removes them. It may die at any moment and do a row again: the keys make one job of it.
Rows are submitted in the order of their numbers. A row that the server refuses for good stays, with the reason, and
holds up no other.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobwire.outbox.dbapi import DbApiOutbox as DbApiOutbox
    from jobwire.outbox.relay import OutboxTable as OutboxTable
    from jobwire.outbox.relay import Relay as Relay
    from jobwire.outbox.relay import Relayed as Relayed
    from jobwire.outbox.rows import NewRow as NewRow
    from jobwire.outbox.rows import Row as Row
    from jobwire.outbox.rows import new_row as new_row
    from jobwire.outbox.sqlalchemy import SqlAlchemyOutbox as SqlAlchemyOutbox

_HOMES = {
    "dbapi": ("DbApiOutbox",),
    "relay": ("OutboxTable", "Relay", "Relayed"),
    "rows": ("NewRow", "Row", "new_row"),
    "sqlalchemy": ("SqlAlchemyOutbox",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605  # every name of the table, and no other


def __getattr__(name: str) -> object:
    # Whoever writes rows by the DB-API needs no SQLAlchemy.
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
