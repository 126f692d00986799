"""An outbox in a table of SQLAlchemy (2.0), on any database that it knows. Needs `pip install jobwire[sqlalchemy]`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Unpack

import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobwire._requests import SubmitOptions
from jobwire.outbox.dbapi import DEFAULT_TABLE, MAX_REASON_CHARS, Refused
from jobwire.outbox.rows import Row, new_row

_SKIPPING = {"postgresql", "mysql", "mariadb", "oracle"}
"""Databases that can pass by locked rows."""


class SqlAlchemyOutbox:
    """An outbox in your metadata: your migrations, or `metadata.create_all`, make its table.

    outbox = SqlAlchemyOutbox(Base.metadata)

    with Session(engine) as session, session.begin():
        session.add(order)
        job_id = outbox.add(session, "order.ship", {"order": order.id})
    """

    def __init__(self, metadata: sa.MetaData, *, table: str = DEFAULT_TABLE) -> None:
        """`table`: its name."""
        self.sql_table = sa.Table(
            table,
            metadata,
            sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
            sa.Column("id", sa.String(64), nullable=False, unique=True),
            sa.Column("type", sa.String(200), nullable=False),
            sa.Column("payload", sa.LargeBinary(2**20)),
            sa.Column("content_type", sa.String(255), nullable=False),
            sa.Column("content_encoding", sa.String(64), nullable=False),
            sa.Column("is_text", sa.Boolean, nullable=False),
            sa.Column("options", sa.Text, nullable=False),
            sa.Column("create_time", sa.String(40), nullable=False),
            sa.Column("refusal", sa.Text),
            sqlite_autoincrement=True,  # a position is never given out twice
        )

    def add(
        self,
        session: Session | sa.Connection,
        job_type: str,
        payload: object = None,
        /,
        **options: Unpack[SubmitOptions],
    ) -> str:
        """Write a row within the transaction of this session, or connection; return the id that the job will have.

        Commits nothing. payload, options: as `Client.submit` takes them, see `new_row`, which also says what it raises.
        With an `AsyncSession`: `await session.run_sync(outbox.add, "order.ship", {...})`.
        """
        row = new_row(job_type, payload, **options)
        session.execute(sa.insert(self.sql_table).values(row._asdict()))
        return row.id

    def refused(self, session: Session | sa.Connection) -> list[Refused]:
        """List the rows that were set aside, the oldest first."""
        columns = self.sql_table.c
        found = session.execute(
            sa.select(columns.id, columns.type, columns.refusal)
            .where(columns.refusal.is_not(None))
            .order_by(columns.position)
        )
        return [Refused(*row) for row in found]

    def retry(self, session: Session | sa.Connection, row_id: str) -> None:
        """Let a relay try a row again that was set aside. Commits nothing."""
        session.execute(sa.update(self.sql_table).where(self.sql_table.c.id == row_id).values(refusal=None))

    def table(self, engine: sa.Engine) -> SqlAlchemyTable:
        """Return what a `Relay` needs."""
        return SqlAlchemyTable(self.sql_table, engine)


class SqlAlchemyTable:
    """Implements `OutboxTable` on connections of an engine."""

    def __init__(self, table: sa.Table, engine: sa.Engine) -> None:
        self._table = table
        self._engine = engine

    @contextmanager
    def take(self, limit: int) -> Iterator[SqlAlchemyBatch]:
        """See `OutboxTable`."""
        columns = self._table.c
        select = (
            sa.select(*(columns[name] for name in Row._fields))
            .where(columns.refusal.is_(None))
            .order_by(columns.position)
            .limit(limit)
        )
        skips = self._engine.dialect.name in _SKIPPING
        with self._engine.connect() as connection:
            found = connection.execute(select.with_for_update(skip_locked=True) if skips else select)
            rows = [Row(*row) for row in found]
            if not skips:
                # Without row locks the only lock is that of the whole database: not while the server is waited for.
                connection.commit()
            yield SqlAlchemyBatch(connection, self._table, rows)
            connection.commit()


class SqlAlchemyBatch:
    """Implements `Batch`."""

    def __init__(self, connection: sa.Connection, table: sa.Table, rows: Sequence[Row]) -> None:
        self._connection = connection
        self._table = table
        self.rows = rows

    def settle(self, *, done: Sequence[str], refused: Sequence[tuple[str, str]]) -> None:
        """See `Batch`."""
        ids = self._table.c.id
        if done:
            self._connection.execute(sa.delete(self._table).where(ids.in_(done)))
        for row_id, reason in refused:
            self._connection.execute(
                sa.update(self._table).where(ids == row_id).values(refusal=reason[:MAX_REASON_CHARS])
            )
