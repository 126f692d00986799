"""Where values come from: the configuration file, and names for the places."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

CONFIG_VARIABLE: Final = "JOBWIRE_CONFIG"
CONFIG_PATHS: Final = (Path("jobwire.toml"), Path("/etc/jobwire/jobwire.toml"))
"""Where a configuration file is looked for when none is named; the first that exists is read."""


class ConfigInvalid(Exception):
    """The configuration cannot be used; the message says where, why, and what would be right."""


class Origin(NamedTuple):
    """A value as somebody wrote it, and where."""

    value: Any
    place: str
    """The flag, the environment variable, or FILE:LINE."""
    named: str
    """The same for error texts, which name the setting."""


class ConfigFile(NamedTuple):
    """The configuration file, if there is one."""

    path: Path | None
    text: str
    values: Mapping[str, Any]

    @classmethod
    def found(cls, named: Path | None, environment: Mapping[str, str]) -> Self:
        """Read the file that is named, else the first that exists."""
        if named is None and environment.get(CONFIG_VARIABLE):
            named = Path(environment[CONFIG_VARIABLE])
        path = named if named is not None else next((path for path in CONFIG_PATHS if path.is_file()), None)
        if path is None:
            return cls(None, "", {})
        try:
            text = path.read_text(encoding="utf-8")
            return cls(path, text, tomllib.loads(text))
        except OSError as error:
            raise ConfigInvalid(f"Cannot read the configuration file {path}: {error.strerror}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigInvalid(f"The configuration file {path} is not TOML: {error}.") from error

    def place(self, key: str) -> str:
        """Where `key` stands: FILE:LINE (TOML's own reader tells no lines)."""
        pattern = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*[=.\]]""")
        table = re.compile(rf"""\s*\[+\s*["']?{re.escape(key)}\b""")
        for number, line in enumerate(self.text.splitlines(), start=1):
            if pattern.match(line) or table.match(line):
                return f"{self.path}:{number}"
        return str(self.path)
