"""Handles: one job, and what can be asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar, cast, overload

from jobwire.codecs import decode
from jobwire.durations import Duration
from jobwire.errors import JobwireError, job_ended
from jobwire.models import Job, JobState, JobStatus, JobUpdate
from jobwire.watching import AsyncWatch, Watch

R = TypeVar("R")
T = TypeVar("T")
H = TypeVar("H")


@dataclass(frozen=True, slots=True)
class SubmitResult(Generic[H]):
    """What became of one job of `submit_many`: a handle, or the error that refused it."""

    handle: H | None
    created: bool
    """False when the key found an existing job, and when there is no handle."""
    error: JobwireError | None = None

    def unwrap(self) -> H:
        """Return the handle, or raise the error."""
        if self.error is not None:
            raise self.error
        assert self.handle is not None
        return self.handle


def value_of(job: Job, type: type[T] | None) -> T | Any:  # noqa: A002
    """Return the result of a job that has ended. Raises JobFailed, JobCancelled, JobExpired; NotDecodable."""
    if job.status.state is not JobState.COMPLETED:
        raise job_ended(job.job_id, job.status)
    return decode(job.status.result) if type is None else decode(job.status.result, type)


class JobVerbs(Protocol):
    """What a handle needs of a Client."""

    def get(self, job_id: str, *, full: bool = True, deadline: Duration | None = None) -> Job: ...
    def watch_job(
        self,
        job_id: str,
        *,
        full: bool = False,
        after_revision: int | None = None,
        timeout: Duration | None = None,
    ) -> Watch[JobUpdate]: ...
    def wait(self, job_id: str, *, timeout: Duration | None = None) -> Job: ...
    def cancel(
        self, job_id: str, *, reason: str = "", force: bool = False, deadline: Duration | None = None
    ) -> Job: ...
    def retry(
        self,
        job_id: str,
        *,
        additional_attempts: int = 0,
        delay: Duration | None = None,
        at: datetime | None = None,
        deadline: Duration | None = None,
    ) -> Job: ...
    def delete(self, job_id: str, *, allow_missing: bool = False, deadline: Duration | None = None) -> None: ...


class AsyncJobVerbs(Protocol):
    """What a handle needs of an AsyncClient."""

    async def get(self, job_id: str, *, full: bool = True, deadline: Duration | None = None) -> Job: ...
    def watch_job(
        self,
        job_id: str,
        *,
        full: bool = False,
        after_revision: int | None = None,
        timeout: Duration | None = None,
    ) -> AsyncWatch[JobUpdate]: ...
    async def wait(self, job_id: str, *, timeout: Duration | None = None) -> Job: ...
    async def cancel(
        self, job_id: str, *, reason: str = "", force: bool = False, deadline: Duration | None = None
    ) -> Job: ...
    async def retry(
        self,
        job_id: str,
        *,
        additional_attempts: int = 0,
        delay: Duration | None = None,
        at: datetime | None = None,
        deadline: Duration | None = None,
    ) -> Job: ...
    async def delete(self, job_id: str, *, allow_missing: bool = False, deadline: Duration | None = None) -> None: ...


class _Known(Generic[R]):
    """What a handle knows without asking."""

    def __init__(
        self,
        job_id: str,
        *,
        state: JobState = JobState.UNKNOWN,
        created: bool = False,
        result_type: type[R] | None = None,
    ) -> None:
        self._job_id = job_id
        self._state = state
        self._created = created
        self._result_type = result_type

    @property
    def id(self) -> str:
        """The job's id."""
        return self._job_id

    @property
    def state(self) -> JobState:
        """State when the server last spoke of the job through this handle; UNKNOWN before. Asks nobody."""
        return self._state

    @property
    def created(self) -> bool:
        """True when the submit that returned this handle made the job, False when its key found it."""
        return self._created

    def _note(self, status: JobStatus) -> JobStatus:
        self._state = status.state
        return status

    def _observe(self, update: JobUpdate) -> None:
        self._note(update.status)

    def _noted(self, job: Job) -> Job:
        self._note(job.status)
        return job

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._job_id} {self._state.value}>"


class JobHandle(_Known[R]):
    """One job. Cheap: it holds an id and a client, and may be shared by threads and pickled."""

    def __init__(
        self,
        client: JobVerbs,
        job_id: str,
        *,
        state: JobState = JobState.UNKNOWN,
        created: bool = False,
        result_type: type[R] | None = None,
    ) -> None:
        super().__init__(job_id, state=state, created=created, result_type=result_type)
        self._client = client

    def returning(self, result_type: type[T]) -> JobHandle[T]:
        """Return a handle of the same job whose `result()` is of this type."""
        return JobHandle(self._client, self._job_id, state=self._state, created=self._created, result_type=result_type)

    def get(self, *, full: bool = True, deadline: Duration | None = None) -> Job:
        """Read the job; `full` with payload, result and attempts. Raises JobNotFound."""
        return self._noted(self._client.get(self._job_id, full=full, deadline=deadline))

    def status(self, *, deadline: Duration | None = None) -> JobStatus:
        """Read the status, without the result. Raises JobNotFound."""
        return self.get(full=False, deadline=deadline).status

    def watch(self, *, full: bool = False, timeout: Duration | None = None) -> Watch[JobUpdate]:
        """Iterate over the job's updates, the present one first, until it has ended.

        Cuts and restarts of the server do not show. Steps may be skipped when the reader is slow, the last one never;
        with `full` it has the result. Raises WaitTimeout after `timeout`, JobNotFound when the job is deleted.
        """
        watch = self._client.watch_job(self._job_id, full=full, timeout=timeout)
        return watch.observe(self._observe)

    def wait(self, *, timeout: Duration | None = None) -> Job:
        """Wait until the job has ended, however it did, and return it in full. Raises WaitTimeout, JobNotFound."""
        return self._noted(self._client.wait(self._job_id, timeout=timeout))

    @overload
    def result(self, *, timeout: Duration | None = None) -> R: ...
    @overload
    def result(self, *, timeout: Duration | None = None, type: type[T]) -> T: ...
    def result(self, *, timeout: Duration | None = None, type: type[T] | None = None) -> R | T:  # noqa: A002
        """Wait for the job's result and return it as `decode` does, with `type` as that type.

        Survives cuts and restarts of the server. Raises JobFailed, JobCancelled, JobExpired; WaitTimeout when the job
        has not ended within `timeout` (it goes on); NotDecodable; JobNotFound.
        """
        return cast("R | T", value_of(self.wait(timeout=timeout), type or self._result_type))

    def cancel(self, *, reason: str = "", force: bool = False, deadline: Duration | None = None) -> JobStatus:
        """Cancel the job: at once when it waits, else its handler is asked to stop; `force` does not wait for that.

        Raises JobTerminal when the job has ended otherwise. Cancelling a cancelled job is fine.
        """
        return self._noted(self._client.cancel(self._job_id, reason=reason, force=force, deadline=deadline)).status

    def retry(
        self,
        *,
        additional_attempts: int = 0,
        delay: Duration | None = None,
        at: datetime | None = None,
        deadline: Duration | None = None,
    ) -> JobStatus:
        """Run a FAILED, CANCELLED or EXPIRED job again. Raises JobNotTerminal, JobSucceeded.

        0 additional attempts = as many as its policy says.
        """
        job = self._client.retry(
            self._job_id, additional_attempts=additional_attempts, delay=delay, at=at, deadline=deadline
        )
        return self._noted(job).status

    def delete(self, *, allow_missing: bool = False, deadline: Duration | None = None) -> None:
        """Remove the ended job and its payloads for good. Raises JobNotTerminal, JobNotFound unless allowed."""
        self._client.delete(self._job_id, allow_missing=allow_missing, deadline=deadline)


class AsyncJobHandle(_Known[R]):
    """One job. Cheap: it holds an id and a client, and may be pickled."""

    def __init__(
        self,
        client: AsyncJobVerbs,
        job_id: str,
        *,
        state: JobState = JobState.UNKNOWN,
        created: bool = False,
        result_type: type[R] | None = None,
    ) -> None:
        super().__init__(job_id, state=state, created=created, result_type=result_type)
        self._client = client

    def returning(self, result_type: type[T]) -> AsyncJobHandle[T]:
        """Return a handle of the same job whose `result()` is of this type."""
        return AsyncJobHandle(
            self._client, self._job_id, state=self._state, created=self._created, result_type=result_type
        )

    async def get(self, *, full: bool = True, deadline: Duration | None = None) -> Job:
        """Read the job; `full` with payload, result and attempts. Raises JobNotFound."""
        return self._noted(await self._client.get(self._job_id, full=full, deadline=deadline))

    async def status(self, *, deadline: Duration | None = None) -> JobStatus:
        """Read the status, without the result. Raises JobNotFound."""
        return (await self.get(full=False, deadline=deadline)).status

    def watch(self, *, full: bool = False, timeout: Duration | None = None) -> AsyncWatch[JobUpdate]:
        """Iterate over the job's updates, the present one first, until it has ended.

        Cuts and restarts of the server do not show. Steps may be skipped when the reader is slow, the last one never;
        with `full` it has the result. Raises WaitTimeout after `timeout`, JobNotFound when the job is deleted.
        """
        watch = self._client.watch_job(self._job_id, full=full, timeout=timeout)
        return watch.observe(self._observe)

    async def wait(self, *, timeout: Duration | None = None) -> Job:
        """Wait until the job has ended, however it did, and return it in full. Raises WaitTimeout, JobNotFound."""
        return self._noted(await self._client.wait(self._job_id, timeout=timeout))

    @overload
    async def result(self, *, timeout: Duration | None = None) -> R: ...
    @overload
    async def result(self, *, timeout: Duration | None = None, type: type[T]) -> T: ...
    async def result(self, *, timeout: Duration | None = None, type: type[T] | None = None) -> R | T:  # noqa: A002
        """Wait for the job's result and return it as `decode` does, with `type` as that type.

        Survives cuts and restarts of the server. Raises JobFailed, JobCancelled, JobExpired; WaitTimeout when the job
        has not ended within `timeout` (it goes on); NotDecodable; JobNotFound.
        """
        return cast("R | T", value_of(await self.wait(timeout=timeout), type or self._result_type))

    async def cancel(self, *, reason: str = "", force: bool = False, deadline: Duration | None = None) -> JobStatus:
        """Cancel the job: at once when it waits, else its handler is asked to stop; `force` does not wait for that.

        Raises JobTerminal when the job has ended otherwise. Cancelling a cancelled job is fine.
        """
        job = await self._client.cancel(self._job_id, reason=reason, force=force, deadline=deadline)
        return self._noted(job).status

    async def retry(
        self,
        *,
        additional_attempts: int = 0,
        delay: Duration | None = None,
        at: datetime | None = None,
        deadline: Duration | None = None,
    ) -> JobStatus:
        """Run a FAILED, CANCELLED or EXPIRED job again. Raises JobNotTerminal, JobSucceeded.

        0 additional attempts = as many as its policy says.
        """
        job = await self._client.retry(
            self._job_id, additional_attempts=additional_attempts, delay=delay, at=at, deadline=deadline
        )
        return self._noted(job).status

    async def delete(self, *, allow_missing: bool = False, deadline: Duration | None = None) -> None:
        """Remove the ended job and its payloads for good. Raises JobNotTerminal, JobNotFound unless allowed."""
        await self._client.delete(self._job_id, allow_missing=allow_missing, deadline=deadline)
