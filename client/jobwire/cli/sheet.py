"""Calls written as grpcurl lines instead of being made.

A command runs as ever, but on a channel that writes its calls down and answers each with an empty message. Texts and
revisions of such an answer are marks: a request that holds one could only be made with the real answer, and there the
command ends.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from jobwire.settings import Settings

_MARK = "(from-the-answer-before)"
_MARKED_NUMBER = 7_777_777_777_777_777_777
_MOST_LINES = 100
_LONGEST_ARGUMENT_BYTES = 100_000
"""Linux takes 128 KiB for one argument; what is longer goes by way of stdin."""
_MOST_DEPTH = 4


# --- one line --------------------------------------------------------------------------------------------------------


def line_of(settings: Settings, method: str, request: Message) -> str:
    """Write the grpcurl line for a call, for a POSIX shell. `method`: `/package.Service/Method`."""
    document = MessageToDict(request, preserving_proto_field_name=True)
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    by_stdin = len(data.encode()) > _LONGEST_ARGUMENT_BYTES
    words = ["grpcurl", *_security(settings)]
    if document:
        words += ["-d", "@" if by_stdin else data]
    unix, address = _address(settings.address)
    words += [*(["-unix"] if unix else []), address, method.removeprefix("/")]
    line = shlex.join(words)
    # JSON on one line cannot hold the word that ends it.
    return f"{line} <<'EOF'\n{data}\nEOF" if by_stdin else line


def _security(settings: Settings) -> Iterator[str]:
    if not settings.tls:
        yield "-plaintext"
        return
    files = (("-cacert", settings.ca), ("-cert", settings.cert), ("-key", settings.key))
    for flag, value in (*files, ("-servername", settings.server_name)):
        if value is not None:
            yield from (flag, value)


def _address(target: str) -> tuple[bool, str]:
    """Translate gRPC's ways to write an address; True: it is the path of a Unix socket."""
    if target.startswith("unix:"):
        path = target.removeprefix("unix:")
        return True, "/" + path.lstrip("/") if path.startswith("//") else path
    return False, re.sub(r"^(?:dns:(?://[^/]*/)?|ipv4:|ipv6:)", "", target)


# --- the sheet -------------------------------------------------------------------------------------------------------


class Enough(BaseException):
    """Ends a command whose next call cannot be written. No Exception, so that no command takes it for an error."""


class Sheet:
    """The calls of one command."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.then = ""
        """What the command would do next; empty = nothing."""
        self._seen: set[tuple[str, bytes]] = set()

    def channel(self, settings: Settings) -> grpc.Channel:
        """Make a channel whose calls are written down."""
        return _Paper(self, settings)

    def write(self, settings: Settings, method: str, request: Message) -> None:
        """Write a call down. Raises Enough when it needs an earlier answer."""
        once = method, request.SerializeToString(deterministic=True)
        if _is_marked(request):
            self.stop(f"{method.removeprefix('/')}, with what was answered before")
        if once in self._seen or len(self.lines) == _MOST_LINES:
            self.stop("what the answers say")
        self._seen.add(once)
        self.lines.append(line_of(settings, method, request))

    def stop(self, then: str = "") -> None:
        """End the command; `then` is what would come next. Raises Enough."""
        self.then = then
        raise Enough


class _Paper(grpc.Channel):
    """A channel that leads to the sheet."""

    def __init__(self, sheet: Sheet, settings: Settings) -> None:
        self._sheet = sheet
        self._settings = settings

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        """See grpc."""
        read = options.get("response_deserializer") or arguments[1]

        def call(request: Message, **_given: Any) -> Message:
            self._sheet.write(self._settings, method, request)
            answer: Message = read(b"")
            _mark(answer, _MOST_DEPTH)
            _echo(request, answer)
            return answer

        return call

    def unary_stream(self, method: str, *_arguments: Any, **_options: Any) -> Any:
        """See grpc."""

        def call(request: Message, **_given: Any) -> None:
            self._sheet.write(self._settings, method, request)
            self._sheet.stop()

        return call

    def stream_unary(self, method: str, *_arguments: Any, **_options: Any) -> Any:
        """See grpc. A call that has no single request cannot be a line."""
        return lambda *_requests, **_given: self._sheet.stop(method.removeprefix("/"))

    stream_stream = stream_unary

    def subscribe(self, callback: Any, try_to_connect: bool | None = None) -> None:
        """See grpc: it never connects."""

    def unsubscribe(self, callback: Any) -> None:
        """See grpc."""

    def close(self) -> None:
        """See grpc."""

    def __enter__(self) -> _Paper:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _mark(answer: Message, depth: int) -> None:
    """Fill the texts and revisions of an empty answer. Lists stay empty, choices undecided, times unset."""
    for field in answer.DESCRIPTOR.fields:
        if field.is_repeated or field.containing_oneof is not None:
            continue
        if field.type == FieldDescriptor.TYPE_STRING:
            setattr(answer, field.name, _MARK)
        elif field.type == FieldDescriptor.TYPE_INT64:
            setattr(answer, field.name, _MARKED_NUMBER)
        elif field.message_type is not None and depth and not field.message_type.full_name.startswith("google."):
            _mark(getattr(answer, field.name), depth - 1)


def _echo(request: Message, answer: Message) -> None:
    """Give back the ids that were asked for: they are no news."""
    asked, told = request.DESCRIPTOR.fields_by_name, answer.DESCRIPTOR.fields_by_name
    filled: Any = answer
    given: Any = request
    if "job_ids" in asked and "jobs" in told:
        for job_id in given.job_ids:
            filled.jobs.add(job_id=job_id)
    if "job_id" in asked and "job" in told and given.job_id:
        filled.job.job_id = given.job_id


def _is_marked(message: Message) -> bool:
    return any(_holds_mark(value) for _, value in message.ListFields())


def _holds_mark(value: Any) -> bool:
    match value:
        case str():
            return _MARK in value
        case bool() | float() | bytes():
            return False
        case int():
            return value == _MARKED_NUMBER
        case Message():
            return _is_marked(value)
        case _:
            # Maps hold only what people typed.
            return not hasattr(value, "items") and any(_holds_mark(each) for each in value)
