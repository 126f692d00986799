"""The client for asyncio. `jobwire.client` has its twin for threads: same names, same words."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

import grpc

from jobwire._aio_wire import AioWire
from jobwire._ambient import Ambient
from jobwire._channel import open_aio_channel
from jobwire._completing import CHUNKS_AHEAD, Allowance, Chunk, Open, refuse_names_of_one
from jobwire._operations import BatchOutcome, Items, Operations, WatchOptions, Where
from jobwire._requests import MAX_BATCH_SIZE, BatchAnswer, CommonOptions, SubmitOptions, check_batch_options
from jobwire.durations import Duration
from jobwire.errors import JobwireError, PositionLost
from jobwire.handle import AsyncJobHandle, SubmitResult, value_of
from jobwire.models import Job, JobEvent, JobUpdate, ServerInfo, WorkerInfo
from jobwire.settings import Settings, make_settings
from jobwire.watching import AsyncWatch

T = TypeVar("T")
R = TypeVar("R")


class AsyncClient:
    """Submits, reads, watches and steers jobs. Lazy: it connects at the first call, and belongs to that event loop.

    What no argument says, the environment does (JOBWIRE_ADDRESS, ...), else the context that `jobwire config use` chose
    or `context` names, else the default: 127.0.0.1:7780, 10 s for each call, no TLS. With an address, only a context
    that is named counts.

    Every call has a deadline (each method takes its own), is tried again while the server is UNAVAILABLE and the
    deadline allows it, and raises errors of `jobwire.errors` only. A client can be pickled.
    """

    def __init__(  # noqa: PLR0913 (all by name but the first)
        self,
        address: str | None = None,
        *,
        deadline: Duration | None = None,
        patience: Duration | None = None,
        tries: int | None = None,
        tls: bool | None = None,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        server_name: str | None = None,
        context: str | None = None,
    ) -> None:
        """Check the settings (see `Settings`); nothing is sent. Raises ArgumentInvalid."""
        settings = make_settings(
            address, os.environ, deadline=deadline, patience=patience, tries=tries, tls=tls, files=(ca, cert, key),
            server_name=server_name, context=context,
        )  # fmt: skip
        self._set_up(settings, Ambient(), open_aio_channel)

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        ambient: Ambient | None = None,
        connect: Callable[[Settings], grpc.aio.Channel] = open_aio_channel,
    ) -> Self:
        """Make a client from its parts: with a clock, chance and channels of one's own, for tests."""
        client = cls.__new__(cls)
        client._set_up(settings, ambient or Ambient(), connect)  # noqa: SLF001 - the other constructor
        return client

    def _set_up(self, settings: Settings, ambient: Ambient, connect: Callable[[Settings], grpc.aio.Channel]) -> None:
        self._settings = settings
        self._operations = Operations(settings, ambient)
        self._wire = AioWire(settings, ambient, connect)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self).from_settings, (self._settings,)

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self._settings

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End all calls and watches, which raise ClientClosed. Jobs go on. Again is fine."""
        await self._wire.close()

    # --- submit

    async def submit(
        self,
        type: str,  # noqa: A002
        payload: object = None,
        *,
        deadline: Duration | None = None,
        **options: Unpack[SubmitOptions],
    ) -> AsyncJobHandle[Any]:
        """Submit one job; when this returns, it is on the server's disk.

        The payload is encoded as `jobwire.codecs` says: JSON unless it is bytes or a protobuf message. A repeat with
        the same `key` never makes a second job. Submits that come while others are under way share a call with one
        another, but no more: each has its own answer, error and deadline. Raises ArgumentInvalid, NotEncodable;
        FieldInvalid, PayloadTooLarge, RequestIdReused, JobIdTaken; QueueFull, StoreFull; Unavailable, CallTimeout.
        """
        submitted = await self._wire.submit(self._operations.submit(type, payload, options, deadline))
        return AsyncJobHandle(self, submitted.job_id, state=submitted.state, created=submitted.created)

    async def submit_many(
        self,
        items: Items,
        *,
        atomic: bool = False,
        key: str | None = None,
        batch_id: str | None = None,
        deadline: Duration | None = None,
        **options: Unpack[CommonOptions],
    ) -> list[SubmitResult[AsyncJobHandle[Any]]]:
        """Submit many jobs, given as `(type, payload)` or `Submission`; return one result for each, in order.

        Each job stands alone: a refusal is the result of that job only. With `atomic` it is all of them or none, at
        most 1,000 in one call: a refusal is raised, `key` makes a repeat safe and `batch_id` names the batch. See
        `submit_each` for the rest. Raises ArgumentInvalid; with `atomic` also what `submit` raises, and BatchTooLarge.
        """
        check_batch_options(atomic, key, batch_id)
        if not atomic:
            return [result async for result in self.submit_each(items, deadline=deadline, **options)]
        answers = await self._wire.run(self._operations.submit_atomic(items, options, key, batch_id, deadline))
        return [self._result(answer) for answer in answers]

    async def submit_each(
        self, items: Items, *, deadline: Duration | None = None, **options: Unpack[CommonOptions]
    ) -> AsyncIterator[SubmitResult[AsyncJobHandle[Any]]]:
        """Submit any number of jobs as the iterator is consumed, holding one batch in memory; yield their results.

        Batches have at most 1,000 jobs and 4 MiB. `deadline` is that of each batch. When the server is gone, the jobs
        not yet sent get that error as their result too. Raises only what `items` raises.
        """
        sending = self._operations.submit_each(items, options, deadline)
        for batch, call in sending.steps():
            outcome: BatchOutcome = None
            if call is not None:
                try:
                    outcome = await self._wire.run(call)
                except JobwireError as error:
                    outcome = error
            for answer in sending.take(batch, outcome):
                yield self._result(answer)

    def _result(self, answer: BatchAnswer) -> SubmitResult[AsyncJobHandle[Any]]:
        if answer.error is not None:
            return SubmitResult(None, False, answer.error)
        handle = AsyncJobHandle[Any](self, answer.job_id, state=answer.state, created=answer.created)
        return SubmitResult(handle, answer.created)

    async def map(
        self,
        type: str,  # noqa: A002
        payloads: Iterable[object],
        *,
        wait: Duration | None = None,
        returning: type[T] | None = None,
        deadline: Duration | None = None,
        **options: Unpack[CommonOptions],
    ) -> AsyncIterator[Any]:
        """Submit a job for each payload, and iterate over their results in the order of the payloads.

        Jobs are submitted in batches as the iterator is consumed, at most 4,000 ahead of the result that is due, so
        that `payloads` may be endless. `wait` is for all results together, `returning` their type, `deadline` that
        of each batch. Raises what `submit` and `result` raise, when the result of that job is due; the others go on.
        """
        refuse_names_of_one(options)
        time = Allowance(wait, self._wire.now())
        submitting = self.submit_each(((type, each) for each in payloads), deadline=deadline, **options)
        ahead: deque[Chunk[AsyncJobHandle[Any]]] = deque()
        while True:
            while len(ahead) < CHUNKS_AHEAD and (results := await _some(submitting)):
                ahead.append(Chunk(results))
            if not ahead:
                return
            async for job in self._ends_in_order(ahead.popleft(), time):
                yield value_of(job, returning)

    async def _ends_in_order(self, chunk: Chunk[AsyncJobHandle[Any]], time: Allowance) -> AsyncIterator[Job]:
        ids, left = chunk.ids, time.left(self._wire.now())
        if not ids:
            chunk.due.popleft().unwrap()  # all were refused: the first of their errors
        async with self.watch(job_ids=ids, snapshot=True, until_all_terminal=True, full=True, timeout=left) as watch:
            while chunk.due:
                job_id = chunk.due.popleft().unwrap().id
                while not chunk.has(job_id):
                    event = await anext(watch, None)
                    if event is None:
                        break
                    chunk.take(event)
                yield chunk.job(job_id) or await self.get(job_id)

    # --- read

    def job(self, job_id: str) -> AsyncJobHandle[Any]:
        """Return a handle for an id. Asks nobody: the job need not exist."""
        return AsyncJobHandle(self, job_id)

    async def get(self, job_id: str, *, full: bool = True, deadline: Duration | None = None) -> Job:
        """Read a job; `full` with payload, result and attempts. Raises JobNotFound."""
        return await self._wire.run(self._operations.get(job_id, full, deadline))

    async def get_many(
        self, job_ids: Iterable[str], *, full: bool = False, deadline: Duration | None = None
    ) -> list[Job | None]:
        """Read jobs by id, each or None when it is missing, in the order given. `deadline` is that of each call.

        Any number of ids, in as many calls as it takes. Raises FieldInvalid for what cannot be an id; Unavailable,
        CallTimeout.
        """
        reading = self._operations.get_many(job_ids, full, deadline)
        while (call := reading.next_call()) is not None:
            reading.take(await self._wire.run(call))
        return reading.found()

    async def jobs(
        self,
        where: Where = None,
        *,
        full: bool = False,
        page_size: int = 200,
        deadline: Duration | None = None,
    ) -> AsyncIterator[Job]:
        """Iterate over the jobs that match, newest first, fetching pages as needed. `deadline` is that of each page.

        `where` is a JobFilter, or a text such as `state:failed queue:mail age<1h` (see `jobwire.filtering`), whose
        conditions that the server cannot look for are looked for here. Raises ArgumentInvalid.
        """
        pages = self._operations.pages(where, full, page_size, deadline)
        while (call := pages.next_call()) is not None:
            for job in pages.take(await self._wire.run(call)):
                yield job

    async def handles(
        self, where: Where = None, *, page_size: int = 200, deadline: Duration | None = None
    ) -> AsyncIterator[AsyncJobHandle[Any]]:
        """Iterate over handles of the jobs that match, to retry, cancel or watch them. See `jobs`."""
        async for job in self.jobs(where, page_size=page_size, deadline=deadline):
            yield AsyncJobHandle(self, job.job_id, state=job.state)

    async def workers(self, *, deadline: Duration | None = None) -> AsyncIterator[WorkerInfo]:
        """Iterate over the workers that are connected or were seen in the last hour, by their id.

        `deadline` is that of each page. Raises Unavailable, CallTimeout.
        """
        pages = self._operations.worker_pages(deadline)
        while (call := pages.next_call()) is not None:
            for worker in pages.take(await self._wire.run(call)):
                yield worker

    async def server_info(self, *, deadline: Duration | None = None) -> ServerInfo:
        """Ask the server for its version, limits and place in its log. Raises Unavailable, CallTimeout."""
        return await self._wire.run(self._operations.server_info(deadline))

    # --- follow

    def watch(self, where: Where = None, **options: Unpack[WatchOptions]) -> AsyncWatch[JobEvent]:
        """Iterate over every change of the jobs that match (None = all), each once, from now or from `after`.

        Cuts and restarts of the server do not show. Persist `event.cursor`, or `cursor` of the watch, with what was
        done, and hand it in as `after` later. Raises RevisionCompacted, StoreEpochChanged or RevisionInFuture when
        that place is gone; with `snapshot=True` a new snapshot comes instead.
        """
        return AsyncWatch(self._wire, self._operations.follow_events(where, options))

    def watch_job(
        self,
        job_id: str,
        *,
        full: bool = False,
        after_revision: int | None = None,
        timeout: Duration | None = None,
    ) -> AsyncWatch[JobUpdate]:
        """Iterate over one job's updates until it has ended: the present one first, or what follows a revision.

        See `JobHandle.watch`.
        """
        return AsyncWatch(self._wire, self._operations.follow_job(job_id, full, after_revision, timeout))

    async def as_completed(
        self, handles: Iterable[AsyncJobHandle[R]], *, timeout: Duration | None = None
    ) -> AsyncIterator[AsyncJobHandle[R]]:
        """Iterate over handles as their jobs end, however they do: `result()` of each then answers at once.

        It watches, and asks nobody again and again; cuts and restarts of the server do not show. A handle whose job
        does not exist is yielded too. Raises WaitTimeout when not all have ended within `timeout`; the jobs go on.
        """
        waiting = Open(handles)
        time = Allowance(timeout, self._wire.now())
        if waiting and waiting.can_be_named:
            left = time.left(self._wire.now())
            async with self.watch(job_ids=waiting.ids, snapshot=True, until_all_terminal=True, timeout=left) as watch:
                async for event in watch:
                    for handle in waiting.take(event):
                        yield handle
                    if not waiting:
                        return
            for handle in waiting.rest():
                yield handle
        while waiting:
            async for handle in self._ends_among_others(waiting, time):
                yield handle

    async def _ends_among_others(
        self, waiting: Open[AsyncJobHandle[R]], time: Allowance
    ) -> AsyncIterator[AsyncJobHandle[R]]:
        """Look at all of them once, then follow the changes since; return early when that place is lost."""
        after, ids = (await self.server_info()).current, waiting.ids
        jobs = await self.get_many(ids)
        where = waiting.conditions(jobs)
        for handle in waiting.look(ids, jobs):
            yield handle
        if not waiting:
            return
        try:
            async with self.watch(where, after=after, timeout=time.left(self._wire.now())) as watch:
                async for event in watch:
                    for handle in waiting.take(event):
                        yield handle
                    if not waiting:
                        return
        except PositionLost:
            return  # the reader was slower than the log is long: look at all again

    async def wait(self, job_id: str, *, timeout: Duration | None = None) -> Job:
        """Wait until a job has ended, however it did, and return it in full. Raises WaitTimeout, JobNotFound."""
        return await self._wire.wait(self._operations.wait(job_id, timeout))

    @overload
    async def result(self, job_id: str, *, timeout: Duration | None = None) -> Any: ...
    @overload
    async def result(self, job_id: str, *, timeout: Duration | None = None, type: type[T]) -> T: ...
    async def result(
        self,
        job_id: str,
        *,
        timeout: Duration | None = None,
        type: type[T] | None = None,  # noqa: A002
    ) -> T | Any:
        """Wait for a job's result and return it. See `JobHandle.result`."""
        return value_of(await self.wait(job_id, timeout=timeout), type)

    # --- steer

    async def cancel(
        self, job_id: str, *, reason: str = "", force: bool = False, deadline: Duration | None = None
    ) -> Job:
        """Cancel a job. See `JobHandle.cancel`."""
        return await self._wire.run(self._operations.cancel(job_id, reason, force, deadline))

    async def retry(
        self,
        job_id: str,
        *,
        additional_attempts: int = 0,
        delay: Duration | None = None,
        at: datetime | None = None,
        deadline: Duration | None = None,
    ) -> Job:
        """Run an ended job again. See `JobHandle.retry`.

        Not tried again when the connection breaks in the middle: a repeat might revive a job that failed anew.
        """
        return await self._wire.run(self._operations.retry(job_id, additional_attempts, delay, at, deadline))

    async def delete(self, job_id: str, *, allow_missing: bool = False, deadline: Duration | None = None) -> None:
        """Remove an ended job for good. See `JobHandle.delete`."""
        await self._wire.run(self._operations.delete(job_id, allow_missing, deadline))


async def _some(results: AsyncIterator[T]) -> list[T]:
    """Take the next batch."""
    taken: list[T] = []
    async for result in results:
        taken.append(result)
        if len(taken) == MAX_BATCH_SIZE:
            break
    return taken
