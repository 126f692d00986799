"""What one command line was told: global flags, environment, streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from jobwire.cli.sheet import Sheet
    from jobwire.contexts import Found, Lookup

COLORS = ("auto", "always", "never")


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
    sheet: Sheet | None = None
    """With --show-grpcurl: where calls are written down instead of being made."""
    _lookup: Lookup | None = field(default=None, init=False, repr=False)

    @property
    def lookup(self) -> Lookup:
        """Where settings are found: flag, then environment, then context. Only to be asked when all is parsed."""
        if self._lookup is None:
            from jobwire.contexts import Lookup  # noqa: PLC0415 - help pages need no settings

            self._lookup = Lookup(self.flags, self.environ)
        return self._lookup

    def forget_settings(self) -> None:
        """Find settings anew: the file has changed."""
        self._lookup = None

    @property
    def output(self) -> Output:
        """Format of stdout. Raises ConfigInvalid."""
        return Output(self._chosen("output", [str(value) for value in Output]) or Output.TABLE)

    @property
    def fields_text(self) -> str | None:
        """What `--fields` says; None = all fields."""
        given: str | None = self.flags.get("fields")
        return given

    @property
    def time_style(self) -> TimeStyle | None:
        """How times are written for people; None = ages on a terminal, else ISO."""
        chosen = self._chosen("time", [str(style) for style in TimeStyle])
        return None if chosen is None else TimeStyle(chosen)

    @property
    def quiet(self) -> bool:
        """True: no talk on stderr, errors only. So it is, too, where a program reads JSON: stderr is for it alone."""
        if self.flags.get("quiet", False) or self.sheet is not None:
            return True
        return self.output.for_machines and not self.stderr.isatty()

    @property
    def verbosity(self) -> int:
        """How many -v there are."""
        return int(self.flags.get("verbose", 0))

    def coloured(self, stream: TextIO) -> bool:
        """Tell whether `stream` gets colours: the setting, then NO_COLOR and CLICOLOR_FORCE, then whether it is a
        terminal. Raises ConfigInvalid."""
        choice = self._chosen("color", COLORS) or "auto"
        if choice != "auto":
            return bool(choice == "always")
        if self.environ.get("NO_COLOR"):
            return False
        if self.environ.get("CLICOLOR_FORCE", "0") != "0":
            return True
        return stream.isatty() and self.environ.get("TERM") != "dumb"

    def _chosen(self, name: str, choices: Sequence[str]) -> str | None:
        found = self.lookup.find(name)
        if found.value is not None:
            check_choice(name, found.value, choices, place=origin_words(found))
        return None if found.value is None else str(found.value)


def check_choice(name: str, value: str, choices: Sequence[str], *, place: str) -> None:
    """Raise ConfigInvalid unless the value is one of the choices."""
    if value in choices:
        return
    from jobwire.contexts import near_or_all  # noqa: PLC0415 - only for mistakes
    from jobwire.errors import ConfigInvalid, ErrorDetails  # noqa: PLC0415

    hint = near_or_all(value, tuple(choices), "config --help")
    raise ConfigInvalid(f"{name} cannot be {value!r} (it came from: {place}).", ErrorDetails(hint=hint))


def origin_words(found: Found) -> str:
    """Say where a value came from."""
    match found.place.value:
        case "given":
            flag = "--no-tls" if found.name == "tls" and not found.value else f"--{found.name.replace('_', '-')}"
            return f"the flag {flag}"
        case "environment":
            return f"the environment variable {found.name}"
        case "context":
            return f"the context {found.name!r} ({found.where})"
        case _:
            return "the default"
