"""Settings of a project that uses jobwire. JOBWIRE_ADDRESS says where the server is, PROJECT_DB where the database."""

import os

SECRET_KEY = "for tests"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django_tasks", "jobwire.integrations.django", "tests.integrations.django_project.shop"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("PROJECT_DB", "file::memory:")},
}
TASKS = {
    "default": {"BACKEND": "jobwire.integrations.django.JobwireBackend", "OPTIONS": {"max_attempts": 2}},
    "at-once": {"BACKEND": "jobwire.integrations.django.JobwireBackend", "OPTIONS": {"enqueue_on_commit": False}},
    "outbox": {"BACKEND": "jobwire.integrations.django.JobwireBackend", "OPTIONS": {"outbox": True}},
    "narrow": {"BACKEND": "jobwire.integrations.django.JobwireBackend", "QUEUES": ["mail"], "OPTIONS": {}},
}
