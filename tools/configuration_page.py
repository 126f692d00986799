"""docs/reference/configuration.md: the table of settings in `config/`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from jobwire_server.config import (
    BOTH,
    CONFIG_PATHS,
    CONFIG_VARIABLE,
    SETTINGS,
    Command,
    Kind,
    Setting,
)
from tools.markdown import generated_from, table

_INTRODUCTION: Final = """\
# Configuration of the server

Every setting of `jobwire dev` and `jobwire serve`, declared once in `server/jobwire_server/config/`. A value is
taken from the first of these places that names it:

1. the flag on the command line;
2. the environment variable (of `db`, which may hold a password, also `JOBWIRE_DB_FILE`: the file that holds the value);
3. the TOML file: the one of `--config` or `{variable}`, else the first that exists of {paths};
4. the default.

All values are checked before anything is opened: one that is out of bounds, an unknown key of the file, or a variable
that is nearly one of these names stops the start with one sentence that says what would be right. Times are written
`250ms`, `90s`, `5m`, `1h30m` or `7d`; flags in the environment `1`, `true`, `yes`, `on` or their opposites.

`--check-config` looks at all of it and starts nothing: exit code 0, or 2 and the reason. `--print-config` prints the
settings in force as such a file, each with the place that it comes from (`--slots`, `JOBWIRE_SLOTS`, `jobwire.toml:3`,
`default`), and without passwords. [jobwire.example.toml](jobwire.example.toml) has every setting, with its
default, to begin with."""

_NOTES: Final = """\
## Rules over several settings

- `--port` and `--listen` exclude each other, and so do `--memory` and `--db`.
- `--tls-key` and `--tls-cert` come together, `--tls-client-ca` only beside them.
- Without TLS only loopback addresses and Unix sockets are listened on, unless `--insecure-no-auth` says so.

## Example

```toml
# jobwire.toml
listen = "127.0.0.1:7780"
db = "jobs.db"
app = "jobs:app"
slots = 32
grace = "60s"
max_depth = 1000000
```

Settings of clients (`JOBWIRE_ADDRESS` and the flags of the commands) are in [cli.md](cli.md)."""


def render() -> str:
    """Return the page."""
    paths = " and ".join(f"`{path}`" for path in CONFIG_PATHS)
    blocks = [
        generated_from("`server/jobwire_server/config/`"),
        _INTRODUCTION.format(variable=CONFIG_VARIABLE, paths=paths),
        "## Settings",
        table(("Setting", "Environment", "Kind", "Default", "Bounds", "Meaning"), map(_row, SETTINGS)),
        _NOTES,
    ]
    return "\n\n".join(blocks) + "\n"


def _row(setting: Setting) -> tuple[str, ...]:
    return (
        f"`{setting.flag}` (file: `{setting.name}`)",
        f"`{setting.variable}`",
        setting.kind.value,
        _default(setting),
        _bounds(setting),
        setting.help + _only(setting.commands),
    )


def _default(setting: Setting) -> str:
    if setting.commands != BOTH or setting.dev_default is None:
        return _shown(setting, setting.default_for(next(iter(sorted(setting.commands)))))
    return "; ".join(f"{command.value}: {_shown(setting, setting.default_for(command))}" for command in Command)


def _shown(setting: Setting, value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{_number(setting, value)}`" if isinstance(value, int | float) else f"`{value}`"


def _bounds(setting: Setting) -> str:
    low, high = setting.minimum, setting.maximum
    if low is None and high is None:
        return ""
    if high is None:
        return f"at least {_number(setting, low)}"
    return f"{_number(setting, low)} to {_number(setting, high)}"


def _number(setting: Setting, value: float | None) -> str:
    unit = "s" if setting.kind is Kind.DURATION else ""
    return f"{value or 0:.0f}{unit}" if float(value or 0).is_integer() else f"{value}{unit}"


def _only(commands: Iterable[Command]) -> str:
    names = sorted(command.value for command in commands)
    return "" if len(names) == len(Command) else f" (`{names[0]}` only)"
