"""Typed jobs: what `@app.job` makes of a function, so that submitting it is checked like calling it.

@app.job("email.send", queue="mail")
async def send_email(to: str, subject: str, *, html: bool = False) -> Receipt: ...

job = send_email.submit("a@b.c", "hi", html=True)      # JobHandle[Receipt]
job = await send_email.asubmit("a@b.c", "hi")          # AsyncJobHandle[Receipt]
receipt = send_email.options(wait="20s", key="welcome-42").run("a@b.c", "hi")
await send_email("a@b.c", "hi")                        # the function itself, no queue involved
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Concatenate, Generic, NamedTuple, ParamSpec, TypeAlias, TypeVar, Unpack, cast

from jobwire._clients import Clients
from jobwire._packing import Packing, result_type_of
from jobwire.durations import Duration
from jobwire.payload import Payload
from jobwire.worker.handler import Handler, Runner
from jobwire.worker.steering import Cancel, Fail, Retry, Snooze

if TYPE_CHECKING:
    from jobwire._requests import CallOptions, CommonOptions, SubmitOptions
    from jobwire.handle import AsyncJobHandle, JobHandle

P = ParamSpec("P")
R = TypeVar("R")
S = ParamSpec("S")
V_co = TypeVar("V_co", covariant=True)
W = TypeVar("W")
X = TypeVar("X")
Q = ParamSpec("Q")

Words: TypeAlias = "Snooze | Retry | Cancel | Fail"
"""What a handler may return to steer its job: no such value is ever a job's result."""


class _Home:
    """What submitters of one handler share: how it packs arguments, what it results in, and the clients of its app."""

    def __init__(self, handler: Handler[..., Any], clients: Clients) -> None:
        self.handler = handler
        self.clients = clients

    @cached_property
    def packing(self) -> Packing:
        return Packing(self.handler.function, self.handler.arguments)

    @cached_property
    def result_type(self) -> Any:
        return result_type_of(self.handler.function)


class _Sending(NamedTuple):
    """Options of a submitter, for those who take them."""

    submit: SubmitOptions
    deadline: Duration | None
    wait: Duration | None


class Submitter(Generic[S, V_co]):
    """A typed job, with the options that hold for its submits. Immutable, cheap, safe to share."""

    def __init__(self, home: _Home, options: CallOptions) -> None:
        self._home = home
        self._options = options

    def options(self, **options: Unpack[CallOptions]) -> Submitter[S, V_co]:
        """Return the same job with these options for its submits; they win over earlier ones.

        `key`, `delay`, `at`, `priority`, `queue`, `labels`, `max_attempts`, `expires` … are those of `Client.submit`,
        `deadline` is that of the submit, and `wait` bounds how long `run` and `map` wait for a result. They are checked
        when something is submitted.
        """
        return Submitter(self._home, {**self._options, **options})

    def submit(self: Submitter[S, W | Words], *args: S.args, **kwargs: S.kwargs) -> JobHandle[W]:
        """Submit a job with these arguments; when this returns, it is on the server's disk.

        It goes through `App.client`. Arguments travel as one payload, from which the worker makes the same arguments
        by the handler's annotations. Raises TypeError when the function could not be called so, NotEncodable when an
        argument cannot travel, and what `Client.submit` raises.
        """
        sending = self._sending()
        client = self._home.clients.pair().sync()
        handle = client.submit(
            self._home.handler.type, self._payload(args, kwargs), deadline=sending.deadline, **sending.submit
        )
        return cast("JobHandle[W]", handle.returning(self._home.result_type))

    async def asubmit(self: Submitter[S, W | Words], *args: S.args, **kwargs: S.kwargs) -> AsyncJobHandle[W]:
        """Do as `submit`, through `App.async_client`."""
        sending = self._sending()
        client = self._home.clients.pair().aio()
        handle = await client.submit(
            self._home.handler.type, self._payload(args, kwargs), deadline=sending.deadline, **sending.submit
        )
        return cast("AsyncJobHandle[W]", handle.returning(self._home.result_type))

    def run(self: Submitter[S, W | Words], *args: S.args, **kwargs: S.kwargs) -> W:
        """Submit, wait for the result and return it.

        Raises what `submit` raises, and JobFailed, JobCancelled, JobExpired; WaitTimeout after the option `wait`, and
        then the job goes on.
        """
        return self.submit(*args, **kwargs).result(timeout=self._sending().wait)

    async def arun(self: Submitter[S, W | Words], *args: S.args, **kwargs: S.kwargs) -> W:
        """Do as `run`, through `App.async_client`."""
        handle = await self.asubmit(*args, **kwargs)
        return await handle.result(timeout=self._sending().wait)

    def map(
        self: Submitter[Concatenate[X, Q], W | Words], items: Iterable[X], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Iterator[W]:
        """Submit one job for each item, which is its first argument, and iterate over their results in order.

        Jobs are submitted in batches, while the iterator is consumed, at most 4,000 ahead of the result that is due:
        `items` may be endless. Raises what `run` raises, at the place of the job; those submitted go on.
        """
        sending = self._sending()
        payloads = (self._payload((item, *args), kwargs) for item in items)
        return self._home.clients.pair().sync().map(
            self._home.handler.type, payloads, wait=sending.wait, returning=self._home.result_type,
            deadline=sending.deadline, **cast("CommonOptions", sending.submit),
        )  # fmt: skip

    def amap(
        self: Submitter[Concatenate[X, Q], W | Words], items: Iterable[X], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> AsyncIterator[W]:
        """Do as `map`, through `App.async_client`."""
        sending = self._sending()
        payloads = (self._payload((item, *args), kwargs) for item in items)
        return self._home.clients.pair().aio().map(
            self._home.handler.type, payloads, wait=sending.wait, returning=self._home.result_type,
            deadline=sending.deadline, **cast("CommonOptions", sending.submit),
        )  # fmt: skip

    def _sending(self) -> _Sending:
        queue = self._home.handler.queue
        options: dict[str, Any] = {"queue": queue, **self._options} if queue else {**self._options}
        deadline, wait = options.pop("deadline", None), options.pop("wait", None)
        return _Sending(cast("SubmitOptions", options), deadline, wait)

    def _payload(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Payload | None:
        return self._home.packing.payload(args, kwargs)


class JobFunction(Handler[P, R], Submitter[S, V_co], Generic[P, R, S, V_co]):
    """What `@app.job` makes of a function: it can be called as before, run by a worker, and submitted.

    P and R are parameters and return type of the function. S are its parameters without a leading JobContext, V_co is
    the type of the value that it, or its coroutine, returns; handles have it without the words that steer a job.
    """

    def __init__(
        self,
        function: Callable[P, R],
        clients: Clients,
        *,
        type: str,  # noqa: A002 (the contract's word)
        queue: str = "",
        timeout_seconds: float | None = None,
        runner: Runner | None = None,
    ) -> None:
        Handler.__init__(self, function, type=type, queue=queue, timeout_seconds=timeout_seconds, runner=runner)
        Submitter.__init__(self, _Home(self, clients), {})

    def __reduce__(self) -> str:
        # The module has it under the function's name; the function itself could not be pickled there any more.
        return self.function.__qualname__
