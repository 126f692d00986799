"""The backend for Django's tasks: each task is a job type, each enqueued call a job."""

from __future__ import annotations

import builtins
import functools
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.core import checks
from django.db import transaction
from django.utils import timezone

from jobwire._requests import SubmitOptions
from jobwire.client import Client
from jobwire.codecs import decode
from jobwire.errors import ArgumentInvalid, JobNotFound
from jobwire.integrations.django.tasks_of_django import (
    BaseTaskBackend,
    Task,
    TaskError,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    discover,
    known_task,
    task_enqueued,
)
from jobwire.models import Job, JobError, JobState
from jobwire.settings import Settings

BACKEND_HEADER: Final = "django-backend"
_JOB_OPTIONS: Final = ("max_attempts", "timeout", "retention")
_CONNECTION_OPTIONS: Final = ("address", "tls", "ca", "cert", "key", "deadline", "tries")
_OWN_OPTIONS: Final = ("enqueue_on_commit", "outbox")
_STATUS: Final = {
    JobState.PROCESSING: TaskResultStatus.RUNNING,
    JobState.COMPLETED: TaskResultStatus.SUCCESSFUL,
    JobState.FAILED: TaskResultStatus.FAILED,
    JobState.CANCELLED: TaskResultStatus.FAILED,
    JobState.EXPIRED: TaskResultStatus.FAILED,
}
"""Whatever else a job does, it waits: READY."""


@functools.lru_cache(maxsize=16)
def _shared_client(settings: Settings) -> Client:
    """Django makes a backend for each thread; a connection for each would be too many."""
    return Client.from_settings(settings)


def job_priority(priority: int) -> int:
    """Map a task's priority, -100 to 100, to a job's, 0 to 9: the higher never becomes the lower, and 0 is both
    defaults."""
    return 5 + -(-priority // 25) if priority >= 0 else 5 - -(priority // 20)


class JobwireBackend(BaseTaskBackend):
    """Submits tasks to a jobwire server.

    | OPTIONS | |
    |---|---|
    | `address`, `tls`, `ca`, `cert`, `key`, `deadline`, `tries` | as `Client` takes them |
    | `max_attempts`, `timeout`, `retention` | of every job; default the server's own, which tries a job 20 times |
    | `enqueue_on_commit` | default True: within a transaction the job is submitted when that commits, and never when it is rolled back. If the server cannot be reached then, the error is raised where the transaction ends, and there is no job |
    | `outbox` | default False. True: the job is written into the database, in the transaction, and `manage.py jobwire_relay` submits it: no job is lost, whatever happens |

    The id of a result is the id of its job. Without QUEUES any queue may be used.
    """  # noqa: E501 (a table)

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, {"QUEUES": [], **params})
        unknown = sorted(set(self.options) - {*_CONNECTION_OPTIONS, *_JOB_OPTIONS, *_OWN_OPTIONS})
        if unknown:
            raise ArgumentInvalid(f"TASKS[{alias!r}]['OPTIONS'] has {', '.join(unknown)}, which jobwire does not know.")
        self._on_commit = bool(self.options.get("enqueue_on_commit", params.get("ENQUEUE_ON_COMMIT", True)))
        self._outbox = bool(self.options.get("outbox", False))

    @property
    def client(self) -> Client:
        """The client: one for all threads of this process. Raises ArgumentInvalid when its options are wrong."""
        chosen = {name: self.options[name] for name in _CONNECTION_OPTIONS if name in self.options}
        return _shared_client(Client(chosen.pop("address", None), **chosen).settings)

    def enqueue(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:
        """See Django. Raises ArgumentInvalid for what cannot be a job; JobwireError when it is submitted at once."""
        self.validate_task(task)
        result = self._result(task, str(uuid.uuid4()), args=list(args), kwargs=dict(kwargs))
        payload = {"args": result.args, "kwargs": result.kwargs}
        if self._outbox:
            self._write(result, payload)
            return result
        options: SubmitOptions = {**self._job_options(task), "key": result.id, "job_id": result.id}

        def submit() -> None:
            self.client.submit(task.module_path, payload, **options)
            object.__setattr__(result, "enqueued_at", timezone.now())
            task_enqueued.send(type(self), task_result=result)

        if self._on_commit:
            transaction.on_commit(submit)
        else:
            submit()
        return result

    def _write(self, result: TaskResult, payload: Mapping[str, Any]) -> None:
        from jobwire.integrations.django import outbox  # noqa: PLC0415 - its model needs the app to be installed

        row_id = outbox.add(result.task.module_path, payload, **self._job_options(result.task))
        object.__setattr__(result, "id", row_id)
        object.__setattr__(result, "enqueued_at", timezone.now())
        task_enqueued.send(type(self), task_result=result)

    def _job_options(self, task: Task) -> SubmitOptions:
        options: SubmitOptions = {
            "queue": task.queue_name,
            "priority": job_priority(task.priority),
            "headers": {BACKEND_HEADER: self.alias},
        }
        if task.run_after is not None:
            options["at"] = _aware(task.run_after)
        for name in _JOB_OPTIONS:
            if name in self.options:
                options[name] = self.options[name]
        return options

    def get_result(self, result_id: str) -> TaskResult:
        """See Django. Raises TaskResultDoesNotExist: no such job, or not of a task that is known here."""
        try:
            job = self.client.get(result_id)
        except (JobNotFound, ArgumentInvalid) as error:
            raise TaskResultDoesNotExist(result_id) from error
        return self.result_of(job)

    def result_of(self, job: Job) -> TaskResult:
        """Show a job, in the full view, as Django's result. Raises TaskResultDoesNotExist."""
        task = known_task(job.spec.type) or discover().get(job.spec.type)
        if task is None:
            raise TaskResultDoesNotExist(f"Job {job.job_id} is no task that is known here: {job.spec.type}")
        call = decode(job.spec.payload)
        result = self._result(
            task.using(queue_name=job.spec.queue) if not self.queues or job.spec.queue in self.queues else task,
            job.job_id,
            args=call["args"],
            kwargs=call["kwargs"],
        )
        starts = [attempt.start_time for attempt in job.attempts if attempt.start_time is not None]
        facts: dict[str, Any] = {
            "status": _STATUS.get(job.state, TaskResultStatus.READY),
            "enqueued_at": job.create_time,
            "started_at": starts[0] if starts else None,
            "last_attempted_at": starts[-1] if starts else None,
            "finished_at": job.status.finish_time,
            "errors": [_error_of(attempt.error) for attempt in job.attempts if attempt.error is not None],
            "worker_ids": [attempt.worker_id for attempt in job.attempts],
        }
        if job.state is JobState.COMPLETED:
            facts["_return_value"] = decode(job.status.result)
        for name, value in facts.items():
            object.__setattr__(result, name, value)
        return result

    def _result(self, task: Task, result_id: str, *, args: list[Any], kwargs: dict[str, Any]) -> TaskResult:
        return TaskResult(
            task=task, id=result_id, status=TaskResultStatus.READY, enqueued_at=None, started_at=None,
            finished_at=None, last_attempted_at=None, args=args, kwargs=kwargs, backend=self.alias, errors=[],
            worker_ids=[],
        )  # fmt: skip

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """See Django: the outbox needs its table."""
        found = list(super().check(**kwargs))
        if self._outbox:
            from django.apps import apps  # noqa: PLC0415 - the registry is there when checks run

            if not apps.is_installed("jobwire.integrations.django"):
                hint = "Add 'jobwire.integrations.django' to INSTALLED_APPS, and migrate."
                found.append(checks.Error(f"TASKS[{self.alias!r}] uses the outbox, which has no table.", hint=hint))
        return found


def _aware(time: datetime) -> datetime:
    return timezone.make_aware(time) if timezone.is_naive(time) else time


def _error_of(error: JobError) -> TaskError:
    """An error as Django shows it; what is no exception of the task is a failure of its job."""
    path = error.type if "." in error.type else f"builtins.{error.type}"
    if "." not in error.type and not hasattr(builtins, error.type):
        path = "jobwire.errors.JobFailed"
    return TaskError(exception_class_path=path, traceback=error.detail or f"{error.type}: {error.message}")
