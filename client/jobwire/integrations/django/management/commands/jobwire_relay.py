"""`manage.py jobwire_relay`: submits what the outbox holds."""

from __future__ import annotations

import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS

from jobwire.integrations.django.backend import JobwireBackend
from jobwire.integrations.django.outbox import DjangoTable
from jobwire.integrations.django.tasks_of_django import task_backends
from jobwire.outbox.relay import Relay


class Command(BaseCommand):
    """See Django."""

    help = "Submit the jobs that the outbox holds, until SIGTERM or Ctrl+C; any number of relays may run."

    def add_arguments(self, parser: CommandParser) -> None:
        """See Django."""
        parser.add_argument("--backend", default="default", help="alias in TASKS (default: %(default)s)")
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, help="alias in DATABASES (default: %(default)s)")
        parser.add_argument("--once", action="store_true", help="submit what there is, then end")

    def handle(self, **options: Any) -> None:
        """Relay. Raises CommandError: with --once when rows had to stay."""
        backend = task_backends[options["backend"]]
        if not isinstance(backend, JobwireBackend):
            raise CommandError(f"TASKS[{options['backend']!r}] is no JobwireBackend. Name the one that is: --backend.")
        relay = Relay(DjangoTable(using=options["database"]), backend.client)
        if options["once"]:
            self._once(relay)
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: relay.stop())
        relay.run()

    def _once(self, relay: Relay) -> None:
        submitted = 0
        while (relayed := relay.once()).taken:
            submitted += relayed.submitted
            if relayed.error is not None:
                raise CommandError(f"{relayed.waiting} rows of the outbox wait: {relayed.error}")
        self.stdout.write(f"{submitted} submitted")
