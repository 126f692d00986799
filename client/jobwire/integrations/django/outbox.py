"""An outbox in Django's database: see `jobwire.outbox`.

with transaction.atomic():
    order.save()
    job_id = outbox.add("order.ship", {"order": order.pk})
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Unpack

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from jobwire._requests import SubmitOptions
from jobwire.integrations.django.models import OutboxRow
from jobwire.outbox.rows import Row, new_row

__all__ = ["DjangoTable", "add"]


def add(
    job_type: str, payload: object = None, /, *, using: str = DEFAULT_DB_ALIAS, **options: Unpack[SubmitOptions]
) -> str:
    """Write a row in the transaction of this thread; return the id that the job will have.

    using: alias of the database. payload, options: as `Client.submit` takes them, see `jobwire.outbox.new_row`, which
    also says what it raises.
    """
    row = new_row(job_type, payload, **options)
    OutboxRow.objects.using(using).create(**row._asdict())
    return row.id


class DjangoTable:
    """Implements `jobwire.outbox.OutboxTable`."""

    def __init__(self, *, using: str = DEFAULT_DB_ALIAS) -> None:
        self._using = using

    @contextmanager
    def take(self, limit: int) -> Iterator[DjangoBatch]:
        """See `OutboxTable`."""
        waiting = OutboxRow.objects.using(self._using).filter(refusal=None).order_by("position")
        if connections[self._using].features.has_select_for_update_skip_locked:
            with transaction.atomic(using=self._using):
                found = waiting.select_for_update(skip_locked=True)[:limit].values_list(*Row._fields)
                yield DjangoBatch(self._using, [Row(*row) for row in found])
        else:
            # Without row locks the only lock is that of the whole database: not while the server is waited for.
            yield DjangoBatch(self._using, [Row(*row) for row in waiting[:limit].values_list(*Row._fields)])


class DjangoBatch:
    """Implements `jobwire.outbox.relay.Batch`."""

    def __init__(self, using: str, rows: Sequence[Row]) -> None:
        self._using = using
        self.rows = rows

    def settle(self, *, done: Sequence[str], refused: Sequence[tuple[str, str]]) -> None:
        """See `Batch`."""
        rows = OutboxRow.objects.using(self._using)
        with transaction.atomic(using=self._using):
            if done:
                rows.filter(id__in=done).delete()
            for row_id, reason in refused:
                rows.filter(id=row_id).update(refusal=reason)
