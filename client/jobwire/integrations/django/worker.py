"""Handlers that run Django's tasks."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.utils import timezone

from jobwire.app import App
from jobwire.integrations.django.backend import JobwireBackend
from jobwire.integrations.django.tasks_of_django import (
    Task,
    TaskContext,
    TaskResult,
    TaskResultStatus,
    task_finished,
    task_started,
)
from jobwire.worker.context import JobContext


def app_of(backend: JobwireBackend, tasks: Iterable[Task]) -> App:
    """Make an app with a handler for each task that belongs to this backend."""
    app = App(f"django-{backend.alias}")
    for task in tasks:
        if task.backend == backend.alias:
            app.job(task.module_path)(_async_handler(backend, task) if _is_async(task) else _handler(backend, task))
    return app


def _is_async(task: Task) -> bool:
    return inspect.iscoroutinefunction(task.func)


def _handler(backend: JobwireBackend, task: Task) -> Any:
    def run(ctx: JobContext, args: list, kwargs: dict) -> Any:  # type: ignore[type-arg]  # as JSON has them
        # A connection that the database has closed meanwhile must not be this task's.
        close_old_connections()
        result = _begun(backend, task, ctx, args, kwargs)
        try:
            value = task.func(*_leading(task, result), *args, **kwargs)
        except BaseException:
            _ended(backend, result, TaskResultStatus.FAILED)
            raise
        else:
            _ended(backend, result, TaskResultStatus.SUCCESSFUL)
            return value
        finally:
            close_old_connections()

    return run


def _async_handler(backend: JobwireBackend, task: Task) -> Any:
    async def run(ctx: JobContext, args: list, kwargs: dict) -> Any:  # type: ignore[type-arg]  # as JSON has them
        # Signals and connections belong to threads.
        result = await sync_to_async(_begun)(backend, task, ctx, args, kwargs)
        try:
            value = await task.func(*_leading(task, result), *args, **kwargs)
        except BaseException:
            await sync_to_async(_ended)(backend, result, TaskResultStatus.FAILED)
            raise
        await sync_to_async(_ended)(backend, result, TaskResultStatus.SUCCESSFUL)
        return value

    return run


def _begun(backend: JobwireBackend, task: Task, ctx: JobContext, args: list[Any], kwargs: dict[str, Any]) -> TaskResult:
    now = timezone.now()
    result = TaskResult(
        task=task, id=ctx.job_id, status=TaskResultStatus.RUNNING, enqueued_at=None, started_at=now, finished_at=None,
        last_attempted_at=now, args=args, kwargs=kwargs, backend=backend.alias, errors=[],
        worker_ids=["jobwire"] * ctx.attempt,
    )  # fmt: skip
    task_started.send(type(backend), task_result=result)
    return result


def _leading(task: Task, result: TaskResult) -> tuple[Any, ...]:
    return (TaskContext(task_result=result),) if task.takes_context else ()


def _ended(backend: JobwireBackend, result: TaskResult, status: TaskResultStatus) -> None:
    object.__setattr__(result, "status", status)
    object.__setattr__(result, "finished_at", timezone.now())
    task_finished.send(type(backend), task_result=result)
