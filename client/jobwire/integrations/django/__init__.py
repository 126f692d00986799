"""Django: a backend for its tasks, an outbox in its database, and the commands that run both.

    INSTALLED_APPS = [..., "django_tasks", "jobwire.integrations.django"]        # Django 6 needs no django_tasks
    TASKS = {"default": {"BACKEND": "jobwire.integrations.django.JobwireBackend", "OPTIONS": {"address": "jobs:7780"}}}

    @task(queue_name="mail", priority=10)
    def welcome(user_id: int) -> None: ...

    welcome.enqueue(user_id=1)                                                    # manage.py jobwire_work runs it

Needs `pip install jobwire[django]`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobwire.integrations.django.backend import JobwireBackend as JobwireBackend

__all__ = ["JobwireBackend"]


def __getattr__(name: str) -> object:
    # Django imports this package before its settings and models can be used.
    if name == "JobwireBackend":
        return import_module(f"{__name__}.backend").JobwireBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
