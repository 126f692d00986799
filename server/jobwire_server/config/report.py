"""The configuration as TOML: what is in force and where it comes from, and a file to begin with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from jobwire_server.config import BOTH, CONFIG_PATHS, CONFIG_VARIABLE, SETTINGS, Command, Effective, Setting
from jobwire_server.config.values import Kind, redacted, written

_OVERRULED_BY: Final[Mapping[str, str]] = MappingProxyType({"listen": "port", "db": "memory"})
"""Settings whose default is not in force when the other one is set."""
_SAMPLES: Final[Mapping[str, Any]] = MappingProxyType({
    "port": 7780,
    "app": "jobs:app",
    "tls_cert": "/etc/jobwire/server.pem",
    "tls_key": "/etc/jobwire/server-key.pem",
    "tls_client_ca": "/etc/jobwire/clients.pem",
})  # fmt: skip
"""What the example says where there is no default."""


def in_force(command: Command, settings: Sequence[Effective]) -> str:
    """Return the settings as a configuration file that says the same, each with a comment on where it comes from.

    Passwords are left out. Read again, the file gives the same configuration (but for those).
    """
    values = {each.setting.name: each.value for each in settings}
    rows = [(_line(each, values), "" if each.value is None else f"# {each.place}") for each in settings]
    width = min(max(len(line) for line, _ in rows), 60)
    lines = [f"{line:<{width}}  {comment}".rstrip() for line, comment in rows]
    return "\n".join([f"# What is in force for `jobwire {command}`, and where each value comes from.", *lines]) + "\n"


def _line(each: Effective, values: Mapping[str, Any]) -> str:
    name, value = each.setting.name, each.value
    if value is None:
        return f"# {name} is not set"
    text = f"{name} = {_toml(each.setting, value)}"
    other = values.get(_OVERRULED_BY.get(name, ""))
    overruled = other is not None and other is not False  # port 0 is a port
    return f"# {text}" if each.is_default and overruled else text


def _toml(setting: Setting, value: Any) -> str:
    shown = written(setting.kind, value)
    if setting.secret and isinstance(shown, str):
        shown = redacted(shown)
    # JSON's texts, numbers and truths are TOML's.
    return json.dumps(shown, ensure_ascii=False)


def example() -> str:
    """Return a file that holds every setting, commented out, with its meaning and its default."""
    paths = ", ".join(f"{path}" for path in CONFIG_PATHS)
    head = [
        "# Every setting of `jobwire serve` and `jobwire dev`, with its default. Made by `make docs` from the table of",
        "# settings. Copy what you need to jobwire.toml.",
        f"# Read from: the file of --config or {CONFIG_VARIABLE}, else the first that exists of {paths}.",
        "# A flag wins over an environment variable, and that over this file.",
    ]
    return "\n".join([*head, *(line for setting in SETTINGS for line in _entry(setting))]) + "\n"


def _entry(setting: Setting) -> Iterator[str]:
    only = "" if setting.commands == BOTH else f" Only for `{next(iter(setting.commands))}`."
    bounds = ""
    if setting.minimum is not None and setting.maximum is not None:
        bounds = f" From {_bound(setting, setting.minimum)} to {_bound(setting, setting.maximum)}."
    yield ""
    yield f"# {setting.help}{bounds}{only}"
    secret = f", {setting.file_variable}" if setting.secret else ""
    yield f"# {setting.flag}, {setting.variable}{secret}"
    default = setting.default if setting.default is not None else setting.dev_default
    if default is None:
        yield "# Not set by default."
        default = _SAMPLES[setting.name]
    elif setting.dev_default is not None:
        other = "not set" if setting.default is None else f"{_toml(setting, setting.default)}"
        yield f"# Default: {_toml(setting, setting.dev_default)} for `dev`, {other} for `serve`."
    yield f"# {setting.name} = {_toml(setting, default)}"


def _bound(setting: Setting, number: float) -> str:
    return str(written(setting.kind, number)) if setting.kind is Kind.DURATION else f"{number:.0f}"
