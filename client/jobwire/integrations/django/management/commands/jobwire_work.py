"""`manage.py jobwire_work`: a worker for the tasks of this project."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from jobwire.errors import JobwireError
from jobwire.integrations.django.backend import JobwireBackend
from jobwire.integrations.django.tasks_of_django import discover, task_backends
from jobwire.integrations.django.worker import app_of
from jobwire.worker.process import WorkerSettings, subscriptions
from jobwire.worker.telling import work_aloud
from jobwire.worker.transport import ANY_QUEUE


class Command(BaseCommand):
    """See Django."""

    help = (
        "Run the tasks that JobwireBackend submits, until SIGTERM or Ctrl+C; running ones may then finish. "
        "Tasks are found in the modules `tasks` of the installed apps."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """See Django."""
        parser.add_argument("--backend", default="default", help="alias in TASKS (default: %(default)s)")
        parser.add_argument("--queue", action="append", metavar="NAME", help="only this queue; may be repeated")
        parser.add_argument("--slots", type=int, default=16, help="tasks at once (default: %(default)s)")
        parser.add_argument("--max-jobs", type=int, metavar="N", help="end after so many")
        parser.add_argument("--module", action="append", default=[], help="import this module, too; may be repeated")
        parser.add_argument("--quiet", action="store_true", help="no line for each task")

    def handle(self, **options: Any) -> None:
        """Work. Raises CommandError."""
        backend = task_backends[options["backend"]]
        if not isinstance(backend, JobwireBackend):
            raise CommandError(f"TASKS[{options['backend']!r}] is no JobwireBackend. Name the one that is: --backend.")
        app = app_of(backend, discover(options["module"]).values())
        if not app.handlers:
            raise CommandError(f"There are no tasks for {options['backend']!r}. Are their modules called tasks.py?")
        settings = WorkerSettings(
            slots=options["slots"],
            queues=subscriptions(options["queue"] or [ANY_QUEUE]),
            max_jobs=options["max_jobs"],
        )
        try:
            work_aloud(app.handlers, backend.client.settings, settings, app_path=None, quiet=options["quiet"])
        except JobwireError as error:
            raise CommandError(str(error)) from error
