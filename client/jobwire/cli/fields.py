"""`--fields a,b`: some fields of the contract's messages, by the same names in tables, JSON and YAML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from jobwire.cli.faults import CliError

HELP = "help"
_WELL_KNOWN = "google.protobuf."

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields that were asked for, in the order asked."""

    names: tuple[str, ...]
    """As they were written."""
    paths: tuple[Path, ...]

    def project(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the document with these fields alone, each in its place."""
        kept: dict[str, Any] = {}
        for path in self.paths:
            _put(kept, path, _value(document, path))
        return kept

    def cells(self, document: Mapping[str, Any]) -> list[str]:
        """Return the values as text, for people; "-" where nothing is set."""
        return [_text(_value(document, path)) for path in self.paths]


def parse_fields(text: str, message: type[Message]) -> Fields:
    """Read `a,b.c`: full paths, or the last name of one where it is clear. Raises CliError with the choice."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise CliError("USAGE", "--fields names no field", hints=["see them all:   --fields help"])
    return Fields(names, tuple(_path(name, message) for name in names))


def field_names(message: type[Message]) -> Iterator[str]:
    """Yield every path that `parse_fields` takes, in the order of the contract."""
    for path, field in _walk(message.DESCRIPTOR):
        yield ".".join(path) + (".KEY" if _is_map(field) else "")


def _path(name: str, message: type[Message]) -> Path:
    asked = tuple(name.split("."))
    known = dict(_walk(message.DESCRIPTOR))
    if _is_known(asked, known):
        return asked
    ends = [path for path in known if path[-1] == asked[0] and _is_known((*path, *asked[1:]), known)]
    shallowest = min(map(len, ends), default=0)
    nearest = [path for path in ends if len(path) == shallowest]
    match nearest:
        case [path]:
            return (*path, *asked[1:])
        case []:
            raise _unknown(name, message)
        case _:
            choice = " or ".join(".".join(path) for path in nearest)
            raise CliError("USAGE", f"the field {name!r} is not clear", hints=[f"write {choice}"])


def _is_known(path: Path, known: Mapping[Path, FieldDescriptor]) -> bool:
    """Tell whether this is a field, or a key of a map."""
    if path in known:
        return True
    holder = known.get(path[:-1])
    return holder is not None and _is_map(holder)


def _unknown(name: str, message: type[Message]) -> CliError:
    import difflib  # noqa: PLC0415 - only for mistakes

    names = list(field_names(message))
    short = {path.rpartition(".")[2]: path for path in reversed(names)}
    near = difflib.get_close_matches(name, [*names, *short], n=1)
    meant = [f"did you mean:   --fields {near[0]}"] if near else []
    return CliError(
        "USAGE", f"a {message.DESCRIPTOR.name} has no field {name!r}", hints=[*meant, "see them all:   --fields help"]
    )


def _walk(message: Any, before: Path = ()) -> Iterator[tuple[Path, FieldDescriptor]]:
    """Yield all fields, and those of the messages in them; elements of lists have no path of their own."""
    for field in message.fields:
        path = (*before, field.name)
        yield path, field
        inner = field.message_type
        if inner is None or field.is_repeated or inner.full_name.startswith(_WELL_KNOWN):
            continue
        if inner.full_name != message.full_name:
            yield from _walk(inner, path)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _value(document: Mapping[str, Any], path: Path) -> Any:
    held: Any = document
    for name in path:
        if not isinstance(held, Mapping):
            return None
        held = held.get(name)
    return held


def _put(document: dict[str, Any], path: Path, value: Any) -> None:
    for name in path[:-1]:
        inner = document.setdefault(name, {})
        if not isinstance(inner, dict):
            inner = document[name] = {}
        document = inner
    document[path[-1]] = value


def _text(value: Any) -> str:
    import json  # noqa: PLC0415 - for objects and lists

    match value:
        case None | "":
            return "-"
        case str():
            return " ".join(value.split())
        case bool():
            return "yes" if value else "no"
        case _:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
