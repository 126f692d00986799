"""Django's tasks, wherever they are: `django.tasks` since Django 6, its backport `django_tasks` before."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

from django.utils.module_loading import autodiscover_modules

try:
    from django.tasks import task_backends
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import Task, TaskContext, TaskError, TaskResult, TaskResultStatus
    from django.tasks.exceptions import TaskResultDoesNotExist
    from django.tasks.signals import task_enqueued, task_finished, task_started
except ImportError:
    from django_tasks import task_backends
    from django_tasks.backends.base import BaseTaskBackend
    from django_tasks.base import Task, TaskContext, TaskError, TaskResult, TaskResultStatus
    from django_tasks.exceptions import TaskResultDoesNotExist
    from django_tasks.signals import task_enqueued, task_finished, task_started

__all__ = [
    "BaseTaskBackend", "Task", "TaskContext", "TaskError", "TaskResult", "TaskResultDoesNotExist", "TaskResultStatus",
    "discover", "known_task", "task_backends", "task_enqueued", "task_finished", "task_started",
]  # fmt: skip

TASKS_MODULE: Final = "tasks"


def discover(modules: Iterable[str] = ()) -> Mapping[str, Task]:
    """Import the module `tasks` of every installed app, and these; return the tasks of all modules, by their path."""
    autodiscover_modules(TASKS_MODULE)
    for name in modules:
        importlib.import_module(name)
    found: dict[str, Task] = {}
    for module in list(sys.modules.values()):
        for value in list(vars(module).values()) if isinstance(module, type(sys)) else ():
            if _is_task(value):
                found[value.module_path] = value
    return found


def known_task(path: str) -> Task | None:
    """Find a task by its path, in modules that are imported already: a job does not choose what is imported."""
    module_name, _, name = path.rpartition(".")
    value: Any = getattr(sys.modules.get(module_name), name, None)
    return value if _is_task(value) else None


def _is_task(value: object) -> bool:
    """By its real type: `isinstance` would wake Django's lazy objects, and some cannot be woken in every project."""
    return issubclass(type(value), Task)
