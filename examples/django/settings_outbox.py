from settings import *  # noqa: F403

TASKS = {"default": {"BACKEND": "jobwire.integrations.django.JobwireBackend", "OPTIONS": {"outbox": True}}}
