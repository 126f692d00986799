"""Where the command line's calls leave the process: they are made, told of (-v, -vv), or only written down
(--show-grpcurl). Every command gets its channel here, so that none can forget one of these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from jobwire._ambient import Clock, SystemClock
from jobwire._channel import open_channel
from jobwire.cli.invocation import Invocation
from jobwire.settings import Settings


def channel_for(invocation: Invocation, settings: Settings) -> grpc.Channel:
    """Make the channel of a command. Nothing is sent before its first call."""
    if invocation.sheet is not None:
        return invocation.sheet.channel(settings)

    def say(line: str) -> None:
        invocation.stderr.write(line + "\n")
        invocation.stderr.flush()

    if invocation.verbosity >= 1:
        say(f"server {settings.address} ({'TLS' if settings.tls else 'no TLS'}; from: {settings.origin})")
    channel = open_channel(settings)
    return grpc.intercept_channel(channel, Teller(say, SystemClock())) if invocation.verbosity >= 2 else channel


class Teller(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Says of each call which it was, how it ended and how long it took; of a stream, when it begins, too."""

    def __init__(self, say: Callable[[str], None], clock: Clock) -> None:
        self._say = say
        self._clock = clock

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """See grpc."""
        begin = self._clock.monotonic()
        call = continuation(client_call_details, request)
        self._tell(client_call_details.method, call, begin)
        return call

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """See grpc."""
        begin = self._clock.monotonic()
        self._say(f"rpc {_short(client_call_details.method)} begins")
        call = continuation(client_call_details, request)
        call.add_done_callback(lambda ended: self._tell(client_call_details.method, ended, begin))
        return call

    def _tell(self, method: str, call: Any, begin: float) -> None:
        milliseconds = (self._clock.monotonic() - begin) * 1000
        self._say(f"rpc {_short(method)} {call.code().name} {milliseconds:.1f} ms")


def _short(method: str) -> str:
    return method.removeprefix("/").removeprefix("jobwire.v1.")
