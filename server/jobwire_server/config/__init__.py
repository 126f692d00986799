"""Settings of the server: each declared once, read from flag > environment > TOML file > default, checked at start."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

from jobwire_server.config.places import CONFIG_PATHS, CONFIG_VARIABLE, ConfigFile, ConfigInvalid, Origin
from jobwire_server.config.values import Kind, read, redacted
from jobwire_server.kernel.telemetry import LogFormat, LogLevel

__all__ = [
    "BOTH", "CONFIG_PATHS", "CONFIG_VARIABLE", "DEFAULT", "SETTINGS", "Command", "Config", "ConfigInvalid", "Effective",
    "Kind", "PostgresUrl", "Setting", "Tls", "assemble", "check_listen", "find_database", "load", "resolve",
]  # fmt: skip

ENVIRONMENT_PREFIX: Final = "JOBWIRE_"
UNIX_PREFIX: Final = "unix:"
SQLITE_PREFIX: Final = "sqlite:///"
DEFAULT: Final = "default"
"""The place of a value that nobody named."""


class Command(StrEnum):
    """The commands that start a server."""

    DEV = "dev"
    SERVE = "serve"


BOTH: Final = frozenset(Command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: its names in all places, its unit, its bounds, its help."""

    name: str
    kind: Kind
    help: str
    default: Any = None
    dev_default: Any = None
    """Default of `dev` where it differs."""
    minimum: float | None = None
    maximum: float | None = None
    commands: frozenset[Command] = BOTH
    secret: bool = False
    """It may hold a password: shown without it, and read from the file that `file_variable` names, too."""

    @property
    def flag(self) -> str:
        """The command line option."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def file_variable(self) -> str:
        """The environment variable that names a file with the value; of secrets only."""
        return self.variable + "_FILE"

    def default_for(self, command: Command) -> Any:
        """The value when nobody says anything."""
        return self.dev_default if command is Command.DEV and self.dev_default is not None else self.default


SETTINGS: Final = (
    Setting(
        name="listen",
        kind=Kind.TEXT,
        default="127.0.0.1:7780",
        help="Address to listen on: HOST:PORT (port 0 = any free one) or unix:PATH.",
    ),
    Setting(
        name="port",
        kind=Kind.COUNT,
        minimum=0,
        maximum=65535,
        commands=frozenset({Command.DEV}),
        help="Port to listen on, on loopback: short for --listen 127.0.0.1:PORT.",
    ),
    Setting(
        name="db",
        kind=Kind.TEXT,
        dev_default=".jobwire/dev.db",
        secret=True,
        help="Where jobs are kept: a SQLite file (a path, or sqlite:///PATH), or postgresql://USER:PASSWORD@HOST/NAME.",
    ),
    Setting(
        name="db_pooler",
        kind=Kind.FLAG,
        default=False,
        help="PostgreSQL is reached through a pooler in transaction mode: do without LISTEN and prepared statements.",
    ),
    Setting(
        name="memory",
        kind=Kind.FLAG,
        default=False,
        commands=frozenset({Command.DEV}),
        help="Keep jobs in a private temporary file, forgotten at the end.",
    ),
    Setting(
        name="app", kind=Kind.APP, help="Handlers to run in this server's pool, for example jobs:app or jobs.py:app."
    ),
    Setting(
        name="slots",
        kind=Kind.COUNT,
        default=16,
        minimum=1,
        maximum=10_000,
        help="Most jobs that run at once in this server's pool.",
    ),
    Setting(
        name="max_jobs_per_child",
        kind=Kind.COUNT,
        default=0,
        minimum=0,
        maximum=2**31,
        help="Jobs after which a child process of the pool (runner='process') is replaced by a fresh one. 0 = never.",
    ),
    Setting(
        name="memory_per_child",
        kind=Kind.SIZE,
        default=0,
        minimum=0,
        maximum=2**53,
        help="Resident memory at which a child process of the pool is killed; its job loses the lease. 0 = no bound.",
    ),
    Setting(
        name="grace",
        kind=Kind.DURATION,
        default=30.0,
        minimum=0,
        maximum=86_400,
        help="Time that running jobs get to finish at shut-down before they are given back.",
    ),
    Setting(
        name="drain_delay",
        kind=Kind.DURATION,
        default=0.0,
        minimum=0,
        maximum=600,
        help="Time between health NOT_SERVING and the end of service, for load balancers. Counts in the grace.",
    ),
    Setting(
        name="lease",
        kind=Kind.DURATION,
        default=30.0,
        minimum=1,
        maximum=3600,
        help="How long a worker may be silent before its jobs go to another.",
    ),
    Setting(
        name="cancel_grace",
        kind=Kind.DURATION,
        default=10.0,
        minimum=0,
        maximum=3600,
        help="Time that a handler gets to obey a cancel before its lease is taken away.",
    ),
    Setting(
        name="max_depth",
        kind=Kind.COUNT,
        default=0,
        minimum=0,
        maximum=2**53,
        help="Most unfinished jobs; more are refused with QUEUE_FULL. 0 = no bound.",
    ),
    Setting(
        name="recovery_time_limit",
        kind=Kind.DURATION,
        default=300.0,
        minimum=0,
        maximum=86_400,
        help="Longest time that recovery waits for a store that is busy or away before the start is given up.",
    ),
    Setting(name="tls_cert", kind=Kind.PATH, help="Certificate chain of the server, PEM."),
    Setting(name="tls_key", kind=Kind.PATH, help="Private key of the certificate, PEM."),
    Setting(
        name="tls_client_ca",
        kind=Kind.PATH,
        help="CA certificates, PEM: only clients with a certificate of theirs are let in.",
    ),
    Setting(
        name="insecure_no_auth",
        kind=Kind.FLAG,
        default=False,
        help="Listen beyond loopback although anybody who reaches the port may do everything.",
    ),
    Setting(
        name="log_format",
        kind=Kind.LOG_FORMAT,
        default=LogFormat.AUTO,
        help="auto (JSON unless standard error is a terminal), console or json.",
    ),
    Setting(
        name="log_level",
        kind=Kind.LOG_LEVEL,
        default=LogLevel.INFO,
        dev_default=LogLevel.WARNING,
        help="Least important lines to log: debug, info, warning or error.",
    ),
)

_NOT_OURS: Final = frozenset({"JOBWIRE_ADDRESS", "JOBWIRE_FAILPOINTS", CONFIG_VARIABLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files of the server's identity."""

    cert: Path
    key: Path
    client_ca: Path | None = None


class PostgresUrl(NamedTuple):
    """Where a PostgreSQL database is, as its client library reads it. Shown without the password."""

    url: str

    def __str__(self) -> str:
        return redacted(self.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a server is started with, checked. Durations are seconds."""

    command: Command
    listen: str
    db: Path | PostgresUrl | None
    """None = a private temporary file."""
    db_pooler: bool
    app: str | None
    slots: int
    max_jobs_per_child: int
    memory_per_child: int
    """Bytes."""
    grace: float
    drain_delay: float
    lease: float
    cancel_grace: float
    max_depth: int
    recovery_time_limit: float
    tls: Tls | None
    insecure_no_auth: bool
    log_format: LogFormat
    log_level: LogLevel


class Effective(NamedTuple):
    """A setting as it is in force."""

    setting: Setting
    value: Any
    """Read and within its bounds; None = not set."""
    place: str
    """Where the value comes from (`Origin.place`), or `default`."""

    @property
    def is_default(self) -> bool:
        """True when nobody said anything."""
        return self.place == DEFAULT


def load(command: Command, flags: Mapping[str, Any], environment: Mapping[str, str], config: Path | None) -> Config:
    """Read and check the settings of `command`. `flags` holds what the command line named, None = not named.

    Raises `ConfigInvalid`.
    """
    return assemble(command, resolve(command, flags, environment, config))


def resolve(
    command: Command, flags: Mapping[str, Any], environment: Mapping[str, str], config: Path | None
) -> Sequence[Effective]:
    """Read every setting of `command` and say where each comes from, in the order of the table; each is within its own
    bounds, and no rule over several was looked at yet. Raises `ConfigInvalid`."""
    known = {setting.name: setting for setting in SETTINGS if command in setting.commands}
    _refuse_misspelled(environment)
    file = ConfigFile.found(config, environment)
    for key in file.values:
        if key not in {setting.name for setting in SETTINGS}:
            raise ConfigInvalid(f"{file.place(key)} has an unknown key {key!r}.{_did_you_mean(key, known)}")
    found = []
    for setting in known.values():
        origin = _find(setting, flags, environment, file)
        if origin is None:
            found.append(Effective(setting, setting.default_for(command), DEFAULT))
        else:
            found.append(Effective(setting, _parse(setting, origin), origin.place))
    return found


def find_database(flag: str | None, environment: Mapping[str, str], config: Path | None) -> Path | PostgresUrl:
    """Find the store that a server started here would open: by flag, environment and file, else that of `dev`. Raises
    `ConfigInvalid`."""
    [setting] = [setting for setting in SETTINGS if setting.name == "db"]
    origin = _find(setting, {"db": flag}, environment, ConfigFile.found(config, environment))
    text = str(setting.default_for(Command.DEV) if origin is None else _parse(setting, origin))
    return _database(text)


def assemble(command: Command, settings: Sequence[Effective]) -> Config:
    """Look at the rules over several settings, and put the configuration together. Raises `ConfigInvalid`."""
    values = {each.setting.name: each.value for each in settings}
    named = {each.setting.name for each in settings if not each.is_default}
    listen = values["listen"]
    if values.get("port") is not None:
        if "listen" in named:
            raise ConfigInvalid("--port and --listen both say where to listen. Name one of them.")
        listen = f"127.0.0.1:{values['port']}"
    tls = _tls(values)
    check_listen(listen, secure=tls is not None, allowed=values["insecure_no_auth"])
    memory = values.get("memory", False)
    if memory and "db" in named:
        raise ConfigInvalid("--memory and --db both say where jobs are kept. Name one of them.")
    return Config(
        command=command,
        listen=listen,
        db=None if memory else _database(values["db"]),
        db_pooler=values["db_pooler"],
        app=values["app"],
        slots=values["slots"],
        max_jobs_per_child=values["max_jobs_per_child"],
        memory_per_child=values["memory_per_child"],
        grace=values["grace"],
        drain_delay=values["drain_delay"],
        lease=values["lease"],
        cancel_grace=values["cancel_grace"],
        max_depth=values["max_depth"],
        recovery_time_limit=values["recovery_time_limit"],
        tls=tls,
        insecure_no_auth=values["insecure_no_auth"],
        log_format=values["log_format"],
        log_level=values["log_level"],
    )


# --- where values come from ---------------------------------------------------------------------------------------


def _find(
    setting: Setting, flags: Mapping[str, Any], environment: Mapping[str, str], file: ConfigFile
) -> Origin | None:
    if flags.get(setting.name) is not None:
        return Origin(flags[setting.name], setting.flag, setting.flag)
    variable = setting.variable
    if environment.get(variable):
        if setting.secret and environment.get(setting.file_variable):
            raise ConfigInvalid(f"{variable} and {setting.file_variable} are both set. Set one of them.")
        return Origin(environment[variable], variable, variable)
    if setting.secret and environment.get(setting.file_variable):
        return Origin(_read_secret(setting, environment), setting.file_variable, setting.file_variable)
    if setting.name in file.values:
        place = file.place(setting.name)
        return Origin(file.values[setting.name], place, f"{setting.name} in {place}")
    return None


def _read_secret(setting: Setting, environment: Mapping[str, str]) -> str:
    """The value that stands in a file of its own, as orchestrators hand secrets in."""
    path = Path(environment[setting.file_variable])
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{setting.file_variable} names {path}, which cannot be read: {error}.") from error


def _refuse_misspelled(environment: Mapping[str, str]) -> None:
    """A variable that looks like one of ours and is none was meant to do something: say so instead of ignoring it."""
    ours = [setting.name for setting in SETTINGS]
    ours += [f"{setting.name}_file" for setting in SETTINGS if setting.secret]
    for variable in environment:
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name == variable.lower() or name in ours or variable in _NOT_OURS:
            continue
        close = difflib.get_close_matches(name, ours, n=1, cutoff=0.8)
        if close:
            meant = ENVIRONMENT_PREFIX + close[0].upper()
            raise ConfigInvalid(f"The environment has an unknown variable {variable}. Did you mean {meant}?")


def _did_you_mean(key: str, known: Mapping[str, Setting]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else f" Known keys: {', '.join(sorted(known))}."


# --- reading values --------------------------------------------------------------------------------------------------


def _parse(setting: Setting, origin: Origin) -> Any:
    try:
        value = read(setting.kind, origin.value)
    except ValueError as error:
        raise ConfigInvalid(f"{origin.named}: {error}.") from error
    unit = " s" if setting.kind is Kind.DURATION else ""
    if setting.minimum is not None and value < setting.minimum:
        raise ConfigInvalid(f"{origin.named}: {value}{unit} is too small; the least is {setting.minimum}{unit}.")
    if setting.maximum is not None and value > setting.maximum:
        raise ConfigInvalid(f"{origin.named}: {value}{unit} is too big; the most is {setting.maximum}{unit}.")
    return value


# --- rules over several settings --------------------------------------------------------------------------------------


def check_listen(listen: str, *, secure: bool, allowed: bool) -> None:
    """Refuse an address that cannot be one, and one that would give everything to everybody."""
    if listen.startswith(UNIX_PREFIX):
        if listen == UNIX_PREFIX:
            raise ConfigInvalid("--listen unix: names no path. Write unix:PATH.")
        return
    host, separator, port = listen.rpartition(":")
    if not separator or not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigInvalid(f"--listen {listen!r} is no address. Write HOST:PORT, [IPV6]:PORT or unix:PATH.")
    if not secure and not allowed and not _is_loopback(host.strip("[]")):
        raise ConfigInvalid(
            f"--listen {listen} would let anybody who reaches it submit, read and cancel all jobs: there is no "
            "TLS here. Listen on 127.0.0.1, or name --tls-cert and --tls-key, or say --insecure-no-auth."
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tls(values: Mapping[str, Any]) -> Tls | None:
    cert, key, client_ca = values["tls_cert"], values["tls_key"], values["tls_client_ca"]
    if cert is None and key is None and client_ca is None:
        return None
    if cert is None or key is None:
        raise ConfigInvalid("TLS needs both --tls-cert and --tls-key (and --tls-client-ca only beside them).")
    for path in (cert, key, client_ca):
        if path is not None and not path.is_file():
            raise ConfigInvalid(f"The TLS file {path} does not exist or is no file.")
    return Tls(cert=cert, key=key, client_ca=client_ca)


def _database(text: str | None) -> Path | PostgresUrl:
    if text is None:
        raise ConfigInvalid("No database is named. Say where jobs are kept: --db PATH, for example --db jobs.db.")
    if text.startswith(SQLITE_PREFIX):
        return Path(text.removeprefix(SQLITE_PREFIX))
    if text.startswith(("postgresql://", "postgres://")):
        return PostgresUrl(text)
    if "://" in text:
        scheme = text.partition("://")[0]
        raise ConfigInvalid(
            f"--db: there is no store for {scheme!r} addresses. Name a file, sqlite:///PATH or postgresql://HOST/NAME."
        )
    return Path(text)
