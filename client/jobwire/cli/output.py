"""Writing data to stdout in the asked format, and talk to stderr."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click
from google.protobuf.message import Message

from jobwire.cli.faults import CliError
from jobwire.cli.fields import HELP, Fields, field_names, parse_fields
from jobwire.cli.invocation import Invocation, Output
from jobwire.cli.yaml import item_lines, yaml_lines

_WELL_KNOWN = "google.protobuf."


def document_of(message: Message) -> dict[str, Any]:
    """Map a message to ProtoJSON with original field names and every field present; null = not set."""
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 - people and -o id need none of it

    given = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return {field.name: _value(message, field, given.get(field.name)) for field in message.DESCRIPTOR.fields}


def _value(message: Message, field: Any, mapped: Any) -> Any:
    if mapped is None or field.message_type is None or field.message_type.full_name.startswith(_WELL_KNOWN):
        return mapped
    if field.message_type.GetOptions().map_entry:
        return mapped
    value = getattr(message, field.name)
    return [document_of(element) for element in value] if isinstance(mapped, list) else document_of(value)


def compact(document: Any) -> str:
    """One line of JSON."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def pretty(document: Any) -> str:
    """JSON for eyes, still one document."""
    return json.dumps(document, ensure_ascii=False, indent=2)


class Printer:
    """The two streams of one command. Data is flushed at once, so that a pipe sees it when it happens."""

    def __init__(self, invocation: Invocation, *, shows: type[Message] | None = None) -> None:
        """`shows`: what the command prints, for `--fields`; None = it has no fields to choose from.

        Raises CliError for fields that the message does not have; ends the command after `--fields help`.
        """
        self._invocation = invocation
        self.output = invocation.output
        self.fields: Fields | None = self._chosen_fields(shows)

    def _chosen_fields(self, shows: type[Message] | None) -> Fields | None:
        text = self._invocation.fields_text
        if text is None:
            return None
        if shows is None:
            raise CliError("USAGE", "this command has no --fields to choose from", hints=["leave --fields out"])
        if text.strip() == HELP:
            for name in field_names(shows):
                self.line(name)
            raise click.exceptions.Exit(0)
        return parse_fields(text, shows)

    def document_of(self, message: Message) -> dict[str, Any]:
        """The message as ProtoJSON; the fields that were asked for, or all."""
        document = document_of(message)
        return document if self.fields is None else self.fields.project(document)

    def talk(self, sentence: str) -> None:
        """Say something to people, on stderr; nothing with --quiet."""
        if not self._invocation.quiet:
            self._write(self._invocation.stderr, sentence)

    def warn(self, sentence: str) -> None:
        """Say something on stderr that --quiet does not silence: a part of the work was refused."""
        self._write(self._invocation.stderr, sentence)

    def line(self, text: str) -> None:
        """Write one line of data."""
        self._write(self._invocation.stdout, text)

    def raw(self, data: bytes) -> None:
        """Write bytes as they are."""
        self._invocation.stdout.flush()
        self._invocation.stdout.buffer.write(data)
        self._invocation.stdout.buffer.flush()

    def one(self, message: Message, *, identifier: str, text: Callable[[], str | None]) -> None:
        """Write one message in the asked format; `text` makes what people see, None = nothing.

        People who asked for fields see one a line.
        """
        if self.output.for_people and self.fields is not None:
            width = max(map(len, self.fields.names))
            cells = self.fields.cells(document_of(message))
            for name, cell in zip(self.fields.names, cells, strict=True):
                self.line(f"{name:<{width}}  {cell}")
            return
        self.document(lambda: self.document_of(message), identifier=identifier, text=text)

    def document(self, make: Callable[[], dict[str, Any]], *, identifier: str, text: Callable[[], str | None]) -> None:
        """Write one object in the asked format; `text` makes what people see, None = nothing."""
        match self.output:
            case Output.JSON:
                self.line(pretty(make()))
            case Output.JSONL:
                self.line(compact(make()))
            case Output.YAML:
                self.lines(yaml_lines(make()))
            case Output.ID:
                self.line(identifier)
            case Output.TABLE | Output.WIDE:
                shown = text()
                if shown is not None:
                    self.line(shown)
            case Output.NONE:
                pass

    def documents(self, key: str, documents: Sequence[dict[str, Any]], *, identifier: str) -> None:
        """Write a list of objects for programs, as `many` does; `identifier` names the field that is the id."""
        match self.output:
            case Output.JSON:
                self.line(pretty({key: list(documents)}))
            case Output.YAML:
                self.lines(yaml_lines({key: list(documents)}))
            case Output.JSONL | Output.ID:
                for document in documents:
                    self.line(compact(document) if self.output is Output.JSONL else str(document[identifier]))
            case _:
                pass

    @contextmanager
    def many(self, key: str, *, tail: Callable[[], Mapping[str, Any]] = dict) -> Iterator[Many]:
        """Write many messages as they come. `json`, `yaml`: an object with the list under `key`, then what `tail` adds.

        A document that was begun is closed on every way out, Ctrl+C and errors included, so that it always parses; an
        error before the first element leaves stdout empty.
        """
        writer = Many(self, key)
        try:
            yield writer
        except BaseException:
            if writer.count:
                writer.close(tail())
            raise
        writer.close(tail())

    def rows(self, rows: Iterable[str]) -> None:
        """Write a table that people read; nothing in any other format."""
        if self.output.for_people:
            self.lines(rows)

    def lines(self, lines: Iterable[str]) -> None:
        """Write lines of data."""
        for line in lines:
            self.line(line)

    def part(self, text: str) -> None:
        """Write a part of a line."""
        self._invocation.stdout.write(text)
        self._invocation.stdout.flush()

    @staticmethod
    def _write(stream: Any, text: str) -> None:
        stream.write(text + "\n")
        stream.flush()


class Many:
    """Writer of `Printer.many`."""

    def __init__(self, printer: Printer, key: str) -> None:
        self._printer = printer
        self._key = key
        self.count = 0

    def add(self, message: Message, *, identifier: str, text: Callable[[], str | None] = lambda: None) -> None:
        """Write one element; `text` makes what people see, None = nothing (a table at the end, perhaps)."""
        match self._printer.output:
            case Output.JSON | Output.YAML:
                self._element(self._printer.document_of(message))
            case Output.TABLE | Output.WIDE if self._printer.fields is not None:
                self._line_of_fields(message, self._printer.fields, text)
            case _:
                self._printer.one(message, identifier=identifier, text=text)
                self.count += 1

    def add_id(self, identifier: str, *, text: str | None = None) -> None:
        """Write an element that is but an id; `text`: what people see, None = nothing."""
        match self._printer.output:
            case Output.JSON | Output.YAML:
                self._element(identifier)
                return
            case Output.JSONL:
                self._printer.line(compact({"job_id": identifier}))
            case Output.ID:
                self._printer.line(identifier)
            case Output.TABLE | Output.WIDE if text is not None:
                self._printer.line(text)
            case _:
                pass
        self.count += 1

    def close(self, tail: Mapping[str, Any]) -> None:
        """End the document."""
        match self._printer.output:
            case Output.JSON:
                rest = "".join(f', "{name}": {compact(value)}' for name, value in tail.items())
                self._printer.line(("\n]" if self.count else self._opening + "]") + rest + "}")
            case Output.YAML:
                head = [] if self.count else [f"{self._key}: []"]
                self._printer.lines([*head, *(yaml_lines(dict(tail)) if tail else [])])
            case _:
                pass

    @property
    def _opening(self) -> str:
        return f'{{"{self._key}": ['

    def _element(self, document: Any) -> None:
        with _unbroken():
            if self._printer.output is Output.YAML:
                head = "" if self.count else f"{self._key}:\n"
                self._printer.part(head + "\n".join(item_lines(document)) + "\n")
            else:
                self._printer.part(("," if self.count else self._opening) + "\n  " + compact(document))
            self.count += 1

    def _line_of_fields(self, message: Message, fields: Fields, text: Callable[[], str | None]) -> None:
        """Show the fields where people would see a line of each element; a table is drawn by who has them all."""
        if text() is not None:
            cells = fields.cells(document_of(message))
            pairs = zip(fields.names, cells, strict=True)
            self._printer.line("  ".join(f"{name}={cell}" for name, cell in pairs))
        self.count += 1


@contextmanager
def _unbroken() -> Iterator[None]:
    """Hold Ctrl+C back until a part of a document has been written; a second one interrupts a write that hangs."""
    caught: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        if caught:
            signal.default_int_handler(number, frame)
        caught.append(number)

    if threading.current_thread() is not threading.main_thread():  # only the main thread is ever interrupted
        yield
        return
    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if caught:
        raise KeyboardInterrupt


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = None) -> list[str]:
    """Align columns. The last one is cut to `width` when given (a terminal), never otherwise."""
    cells = [list(headings), *(list(row) for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(headings))]
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in cells]
    if width is None:
        return lines
    return [line if len(line) <= width else line[: max(width - 1, 1)] + "…" for line in lines]
