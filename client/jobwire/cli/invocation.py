"""What one command line was told: global flags, environment, streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, TextIO

DEFAULT_ADDRESS = "127.0.0.1:7780"
DEFAULT_CALL_TIMEOUT = timedelta(seconds=10)


class Output(StrEnum):
    """How data is written to stdout."""

    TABLE = "table"
    """For people: may change in any release."""
    WIDE = "wide"
    """The same with more columns, and nothing cut."""
    JSON = "json"
    """Exactly one JSON document."""
    JSONL = "jsonl"
    """One JSON object a line, as soon as it is known."""
    YAML = "yaml"
    """The document of `json`, as YAML."""
    ID = "id"
    """Job ids only, one a line."""
    NONE = "none"
    """Nothing: the exit code is the answer."""

    @property
    def for_machines(self) -> bool:
        """True where errors are JSON objects, too."""
        return self in {Output.JSON, Output.JSONL, Output.YAML}

    @property
    def for_people(self) -> bool:
        """True for what people read, and may change in any release."""
        return self in {Output.TABLE, Output.WIDE}

    @property
    def nearest(self) -> Output:
        """The same for writers that have no wide form, and none of YAML (which JSON is, too)."""
        match self:
            case Output.WIDE:
                return Output.TABLE
            case Output.YAML:
                return Output.JSON
            case _:
                return self


class TimeStyle(StrEnum):
    """How times are written for people. JSON always has RFC 3339."""

    RELATIVE = "relative"
    """How long ago, or in how long."""
    ISO = "iso"
    """RFC 3339 in UTC."""
    UNIX = "unix"
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the server is, and who said so (for error texts)."""

    target: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Paths of PEM files. `ca` None = the system's authorities; `cert` and `key` come together."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


def wall_seconds() -> float:
    """Seconds since the epoch, as the machine believes."""
    from jobwire._ambient import SystemClock  # noqa: PLC0415 - help pages need no clock

    return SystemClock().now().timestamp()


@dataclass(slots=True, kw_only=True)
class Invocation:
    """One run of the command line. Global flags are gathered here while click parses, before and after the command."""

    environ: Mapping[str, str]
    stdout: TextIO
    stderr: TextIO
    wall_seconds: Callable[[], float] = wall_seconds
    flags: dict[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> Output:
        """Format of stdout."""
        return Output(self.flags.get("output", Output.TABLE))

    @property
    def fields_text(self) -> str | None:
        """What `--fields` says; None = all fields."""
        given: str | None = self.flags.get("fields")
        return given

    @property
    def time_style(self) -> TimeStyle | None:
        """How times are written for people; None = ages on a terminal, else ISO."""
        given = self.flags.get("time")
        return None if given is None else TimeStyle(given)

    @property
    def quiet(self) -> bool:
        """True: no talk on stderr, errors only. So it is, too, where a program reads JSON: stderr is for it alone."""
        return bool(self.flags.get("quiet", False)) or (self.output.for_machines and not self.stderr.isatty())

    @property
    def address(self) -> Address:
        """The server's address: flag, then environment, then default."""
        if flag := self.flags.get("address"):
            return Address(target=flag, origin="the flag --address")
        if variable := self.environ.get("JOBWIRE_ADDRESS"):
            return Address(target=variable, origin="the environment variable JOBWIRE_ADDRESS")
        return Address(target=DEFAULT_ADDRESS, origin="the default")

    @property
    def call_timeout(self) -> timedelta:
        """Deadline of each call."""
        given: timedelta | None = self.flags.get("timeout")
        return given if given is not None else DEFAULT_CALL_TIMEOUT

    @property
    def tls(self) -> TlsFiles | None:
        """None = plain text."""
        files = TlsFiles(ca=self.flags.get("tls_ca"), cert=self.flags.get("tls_cert"), key=self.flags.get("tls_key"))
        return None if files == TlsFiles() else files

    def coloured(self, stream: TextIO) -> bool:
        """Tell whether `stream` gets colours: flag, then NO_COLOR and CLICOLOR_FORCE, then whether it is a terminal."""
        choice = self.flags.get("color", "auto")
        if choice != "auto":
            return bool(choice == "always")
        if self.environ.get("NO_COLOR"):
            return False
        if self.environ.get("CLICOLOR_FORCE", "0") != "0":
            return True
        return stream.isatty() and self.environ.get("TERM") != "dumb"
