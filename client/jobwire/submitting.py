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
from typing import TYPE_CHECKING, Any, Concatenate, Generic, NamedTuple, ParamSpec, TypeVar, Unpack, cast

from jobwire._clients import Clients
from jobwire._packing import Packing, result_type_of
from jobwire.durations import Duration
from jobwire.payload import Payload
from jobwire.worker.handler import Handler, Runner

if TYPE_CHECKING:
    from jobwire._requests import CallOptions, CommonOptions, SubmitOptions
    from jobwire.handle import AsyncJobHandle, JobHandle

P = ParamSpec("P")
R = TypeVar("R")
S = ParamSpec("S")
V = TypeVar("V")
X = TypeVar("X")
Q = ParamSpec("Q")


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


class Submitter(Generic[S, V]):
    """A typed job, with the options that hold for its submits. Immutable, cheap, safe to share."""

    def __init__(self, home: _Home, options: CallOptions) -> None:
        self._home = home
        self._options = options

    def options(self, **options: Unpack[CallOptions]) -> Submitter[S, V]:
        """Return the same job with these options for its submits; they win over earlier ones.

        `key`, `delay`, `at`, `priority`, `queue`, `labels`, `max_attempts`, `expires` … are those of `Client.submit`,
        `deadline` is that of the submit, and `wait` bounds how long `run` and `map` wait for a result. They are checked
        when something is submitted.
        """
        return Submitter(self._home, {**self._options, **options})

    def submit(self, *args: S.args, **kwargs: S.kwargs) -> JobHandle[V]:
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
        return cast("JobHandle[V]", handle.returning(self._home.result_type))

    async def asubmit(self, *args: S.args, **kwargs: S.kwargs) -> AsyncJobHandle[V]:
        """Do as `submit`, through `App.async_client`."""
        sending = self._sending()
        client = self._home.clients.pair().aio()
        handle = await client.submit(
            self._home.handler.type, self._payload(args, kwargs), deadline=sending.deadline, **sending.submit
        )
        return cast("AsyncJobHandle[V]", handle.returning(self._home.result_type))

    def run(self, *args: S.args, **kwargs: S.kwargs) -> V:
        """Submit, wait for the result and return it.

        Raises what `submit` raises, and JobFailed, JobCancelled, JobExpired; WaitTimeout after the option `wait`, and
        then the job goes on.
        """
        return self.submit(*args, **kwargs).result(timeout=self._sending().wait)

    async def arun(self, *args: S.args, **kwargs: S.kwargs) -> V:
        """Do as `run`, through `App.async_client`."""
        handle = await self.asubmit(*args, **kwargs)
        return await handle.result(timeout=self._sending().wait)

    def map(
        self: Submitter[Concatenate[X, Q], V], items: Iterable[X], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Iterator[V]:
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
        self: Submitter[Concatenate[X, Q], V], items: Iterable[X], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> AsyncIterator[V]:
        """Do as `map`, through `App.async_client`."""
        sending = self._sending()
        payloads = (self._payload((item, *args), kwargs) for item in items)
        return self._home.clients.pair().aio().map(
            self._home.handler.type, payloads, wait=sending.wait, returning=self._home.result_type,
            deadline=sending.deadline, **cast("CommonOptions", sending.submit),
        )  # fmt: skip

    def _sending(self) -> _Sending:
        options: dict[str, Any] = {"queue": self._home.handler.queue or None, **self._options}
        deadline, wait = options.pop("deadline", None), options.pop("wait", None)
        return _Sending(cast("SubmitOptions", options), deadline, wait)

    def _payload(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Payload | None:
        return self._home.packing.payload(args, kwargs)


class JobFunction(Handler[P, R], Submitter[S, V], Generic[P, R, S, V]):
    """What `@app.job` makes of a function: it can be called as before, run by a worker, and submitted.

    P and R are parameters and return type of the function. S are its parameters without a leading JobContext, V is what
    its job results in: the value that the function returns, or that its coroutine does.
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
