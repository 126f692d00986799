"""Contexts: settings of a client under a name, in a file of the user's; and the one order in which settings are found.

    current = "prod"

    [contexts.prod]
    address = "jobs.internal:7780"
    tls_ca = "ca.pem"          # beside this file
    timeout = "30s"

The order is the same for the command line and for `Client`: what was given (a flag, an argument) wins over the
environment, that over the context, that over the default. Two things follow from what a context is:

- A context that was itself given (`-c prod`) was given with all that it says, so it wins over the environment.
- TLS settings of a context belong to its address. When the address comes from elsewhere they are left out: a
  certificate is not shown to a server that it was not meant for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from jobwire.durations import parse_duration
from jobwire.errors import ArgumentInvalid, ConfigInvalid, ErrorDetails

FILE_VARIABLE = "JOBWIRE_CONTEXTS"
"""Names the file. JOBWIRE_CONFIG is another one: the server's."""
CONTEXT_VARIABLE = "JOBWIRE_CONTEXT"
_CURRENT = "current"
_CONTEXTS = "contexts"


class Kind(Enum):
    """What a setting holds."""

    TEXT = "text"
    DURATION = "duration"
    """Longer than 0."""
    SWITCH = "switch"
    FILE = "file"
    """A relative path in a context is meant from the folder of the file that says it."""


class Key(NamedTuple):
    """One setting."""

    name: str
    kind: Kind
    variable: str
    help: str

    @property
    def is_of_connection(self) -> bool:
        """True for what belongs to one server's address and to no other."""
        return self.name.startswith("tls")


# The server reads JOBWIRE_TLS_CERT and JOBWIRE_TLS_KEY as its own identity: a client's must not share their names.
KEYS: Mapping[str, Key] = MappingProxyType({
    key.name: key
    for key in (
        Key("address", Kind.TEXT, "JOBWIRE_ADDRESS", "The server: HOST:PORT, unix:PATH, or a gRPC target."),
        Key("timeout", Kind.DURATION, "JOBWIRE_TIMEOUT", "Deadline of each call."),
        Key("tls", Kind.SWITCH, "JOBWIRE_TLS", "Speak TLS, or do not; unset: where another tls setting is there."),
        Key("tls_ca", Kind.FILE, "JOBWIRE_TLS_CA", "The server's authority (PEM); unset: the usual public ones."),
        Key("tls_cert", Kind.FILE, "JOBWIRE_CLIENT_CERT", "This client's certificate (PEM)."),
        Key("tls_key", Kind.FILE, "JOBWIRE_CLIENT_KEY", "This client's key (PEM)."),
        Key("tls_server_name", Kind.TEXT, "JOBWIRE_TLS_SERVER_NAME", "Name that the server's certificate must bear."),
        Key("output", Kind.TEXT, "JOBWIRE_OUTPUT", "Format of stdout, of the command line only."),
        Key("time", Kind.TEXT, "JOBWIRE_TIME", "relative, iso or unix times, of the command line only."),
        Key("color", Kind.TEXT, "JOBWIRE_COLOR", "auto, always or never, of the command line only."),
    )
})  # fmt: skip
"""Every setting that a context, and the environment, may hold."""


CLIENT_VARIABLES = frozenset({FILE_VARIABLE, CONTEXT_VARIABLE, *(key.variable for key in KEYS.values())})
"""Every variable that a client reads. None holds a secret: of certificates and keys they say where they are."""


class Place(StrEnum):
    """Who said what a setting is."""

    GIVEN = "given"
    ENVIRONMENT = "environment"
    CONTEXT = "context"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Found:
    """The value that counts, and who said it. `value` None = nobody did."""

    value: Any
    place: Place
    name: str = ""
    """The setting, the variable, or the context."""
    where: str = ""
    """Of a context: FILE:LINE."""
    rank: int = 99
    """0 is the strongest; only comparisons mean anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextFile:
    """What the file says. A file that is not there says nothing."""

    path: Path
    current: str | None = None
    contexts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    lines: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Line of (context, setting), where it could be told."""

    def where(self, context: str, name: str) -> str:
        """FILE:LINE of a setting, or the file."""
        line = self.lines.get((context, name))
        return str(self.path) if line is None else f"{self.path}:{line}"

    def values_of(self, context: str, *, named_by: str = "") -> Mapping[str, Any]:
        """Return the settings of a context, each read as what it is. Raises ConfigInvalid."""
        if context not in self.contexts:
            raise ConfigInvalid(
                f"There is no context {context!r} in {self.path}{f' (named by {named_by})' if named_by else ''}.",
                ErrorDetails(hint=near_or_all(context, self.contexts, "config list")),
            )
        written = self.contexts[context]
        for name in written:
            check_key(name, f"{self.where(context, name)}, context {context!r}")
        return {
            name: read_value(KEYS[name], value, place=self.where(context, name), folder=self.path.parent)
            for name, value in written.items()
        }


def contexts_path(environ: Mapping[str, str]) -> Path:
    """Return the path of the file: JOBWIRE_CONTEXTS, else jobwire/config.toml where the user's settings are kept."""
    if named := environ.get(FILE_VARIABLE):
        return Path(named).expanduser()
    home = environ.get("XDG_CONFIG_HOME")
    # The standard (XDG) says that a relative path there is to be ignored.
    folder = (
        Path(home) if home and Path(home).is_absolute() else Path(environ.get("HOME") or "~").expanduser() / ".config"
    )
    return folder / "jobwire" / "config.toml"


def read_contexts(path: Path) -> ContextFile:
    """Read the file. Raises ConfigInvalid."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return ContextFile(path=path)
    except OSError as error:
        raise ConfigInvalid(f"The file of contexts {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"The file of contexts {path} is not text in UTF-8.") from error
    import tomllib  # noqa: PLC0415 - only where there is a file

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigInvalid(f"The file of contexts {path} is not TOML: {error}.") from error
    lines = dict(_lines_of(text))
    for name in document:
        if name not in {_CURRENT, _CONTEXTS}:
            raise _unknown_at_top(name, f"{path}:{lines[('', name)]}" if ("", name) in lines else str(path))
    return ContextFile(path=path, lines=lines, **_checked(document, path))


def _checked(document: Mapping[str, Any], path: Path) -> dict[str, Any]:
    current, contexts = document.get(_CURRENT), document.get(_CONTEXTS, {})
    if current is not None and not isinstance(current, str):
        raise ConfigInvalid(f"{path}: current must be the name of a context, not {current!r}.")
    if not isinstance(contexts, dict) or not all(isinstance(each, dict) for each in contexts.values()):
        raise ConfigInvalid(f"{path}: contexts must be tables, such as [contexts.prod].")
    return {"current": current, "contexts": contexts}


def _unknown_at_top(name: str, place: str) -> ConfigInvalid:
    if name in KEYS:
        hint = f"settings stand in a context: write {name} below a line such as [contexts.prod]"
    else:
        hint = near_or_all(name, (_CURRENT, _CONTEXTS), "config --help")
    return ConfigInvalid(f"{place}: {name!r} is none of its settings.", ErrorDetails(hint=hint))


_HEADER = re.compile(r"""\s*\[\s*contexts\s*\.\s*(?:"([^"]+)"|'([^']+)'|([\w-]+))\s*\]""")
_ENTRY = re.compile(r"""\s*["']?([\w-]+)["']?\s*=""")


def _lines_of(text: str) -> Iterator[tuple[tuple[str, str], int]]:
    """Say where settings stand. Only for people, so what is written in unusual ways (inline tables) is left out."""
    section: str | None = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("["):
            header = _HEADER.match(line)
            section = next(name for name in header.groups() if name) if header else None
        elif section is not None and (entry := _ENTRY.match(line)):
            yield (section, entry[1]), number


def check_key(name: str, place: str) -> Key:
    """Return the setting of this name. Raises ConfigInvalid, with the one that was perhaps meant."""
    if name not in KEYS:
        raise ConfigInvalid(
            f"{place}: {name!r} is no setting.", ErrorDetails(hint=near_or_all(name, KEYS, "config show"))
        )
    return KEYS[name]


def near_or_all(name: str, known: Mapping[str, Any] | tuple[str, ...], command: str) -> str:
    """Propose the name that was perhaps meant, else name all."""
    import difflib  # noqa: PLC0415 - only for mistakes

    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there are: {', '.join(known)}" if known else f"there are none yet: jobwire {command}"


_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


def read_value(key: Key, value: object, *, place: str, folder: Path | None = None) -> Any:
    """Read what the environment or a context says of a setting; `place` is where. Raises ConfigInvalid."""
    wrong = f"{place}: {key.name} must be"
    if key.kind is Kind.SWITCH:
        word = str(value).lower()
        if word in _TRUE | _FALSE:
            return word in _TRUE
        raise ConfigInvalid(f"{wrong} true or false, not {value!r}.")
    if not isinstance(value, str) or not value.strip():
        raise ConfigInvalid(f"{wrong} text, not {value!r}.")
    match key.kind:
        case Kind.DURATION:
            return _read_duration(value, wrong)
        case Kind.FILE:
            path = Path(value).expanduser()
            return str(path if folder is None else folder / path)
        case Kind.TEXT:
            return value


def _read_duration(text: str, wrong: str) -> Any:
    try:
        duration = parse_duration(text)
    except ArgumentInvalid:
        duration = None
    if not duration:
        raise ConfigInvalid(f"{wrong} a duration longer than 0, such as 250ms, 90s or 1h30m, not {text!r}.")
    return duration


class Lookup:
    """Finds the settings of one client."""

    def __init__(self, given: Mapping[str, Any], environ: Mapping[str, str], *, use_context: bool = True) -> None:
        """`given`: by name of the setting, and "context"; None is not given. Reads no file before it is needed."""
        self._given = given
        self._environ = environ
        self._use_context = use_context
        self._context: tuple[str, Mapping[str, Any]] | None = None
        self._has_chosen = False
        self._file: ContextFile | None = None

    @property
    def file(self) -> ContextFile:
        """The file of contexts. Raises ConfigInvalid."""
        if self._file is None:
            self._file = read_contexts(contexts_path(self._environ))
        return self._file

    @property
    def context_name(self) -> Found:
        """Which context counts, and who chose it. It need not exist."""
        if not self._use_context:
            return Found(None, Place.DEFAULT)
        if given := self._given.get("context"):
            return Found(given, Place.GIVEN, "context")
        if variable := self._environ.get(CONTEXT_VARIABLE):
            return Found(variable, Place.ENVIRONMENT, CONTEXT_VARIABLE)
        if self.file.current is not None:
            return Found(self.file.current, Place.CONTEXT, _CURRENT, self.file.where("", _CURRENT))
        return Found(None, Place.DEFAULT)

    @property
    def context(self) -> tuple[str, Mapping[str, Any]] | None:
        """The name and the settings of the context that counts; None = there is none. Raises ConfigInvalid."""
        if not self._has_chosen:
            chosen = self.context_name
            if chosen.value is not None:
                named_by = chosen.where or (CONTEXT_VARIABLE if chosen.place is Place.ENVIRONMENT else "")
                self._context = chosen.value, self.file.values_of(chosen.value, named_by=named_by)
            self._has_chosen = True
        return self._context

    def find(self, name: str) -> Found:
        """Find a setting. Raises ConfigInvalid when what was said of it, or the file, cannot be used."""
        key = KEYS[name]
        if (given := self._given.get(name)) is not None:
            return Found(given, Place.GIVEN, name, rank=0)
        if self._given.get("context") and (found := self._in_context(key, rank=1)):
            return found
        if text := self._environ.get(key.variable):
            value = read_value(key, text, place=f"The environment variable {key.variable}")
            return Found(value, Place.ENVIRONMENT, key.variable, rank=2)
        return self._in_context(key, rank=3) or Found(None, Place.DEFAULT)

    def _in_context(self, key: Key, *, rank: int) -> Found | None:
        if self.context is None or key.name not in self.context[1]:
            return None
        if key.is_of_connection and self.find("address").place in {Place.GIVEN, Place.ENVIRONMENT}:
            return None
        name, values = self.context
        return Found(values[key.name], Place.CONTEXT, name, self.file.where(name, key.name), rank)
