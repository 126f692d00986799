"""The Django app: a table for the outbox, and the management commands."""

from __future__ import annotations

from django.apps import AppConfig


class JobwireConfig(AppConfig):
    """See `jobwire.integrations.django`."""

    name = "jobwire.integrations.django"
    label = "jobwire"
    verbose_name = "jobwire"
    default_auto_field = "django.db.models.BigAutoField"
