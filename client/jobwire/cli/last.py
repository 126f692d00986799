"""`@last`: the job that was last submitted from this terminal."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobwire.cli.faults import CliError
from jobwire.cli.invocation import Invocation

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:  # generic for type checkers only: older releases of click cannot be subscripted
    _ParamType = click.ParamType

LAST = "@last"
_MOST_TERMINALS = 50


def remember(invocation: Invocation, job_id: str) -> None:
    """Keep the id for `@last`, when this is a terminal: programs have variables of their own.

    A folder that cannot be written is told, for `@last` would later name an older job; the submit is none the worse.
    """
    if (path := _path(invocation.environ)) is None or invocation.sheet is not None:  # --show-grpcurl: no job was made
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = path.with_suffix(f".{os.getpid()}")
        new.write_text(job_id, encoding="utf-8")
        new.replace(path)
        _prune(path.parent)
    except OSError as error:
        invocation.stderr.write(f"note: {LAST} does not know this job: cannot write {path} ({error.strerror})\n")


def _prune(folder: Path) -> None:
    """Forget the terminals that were used longest ago."""
    newest_last = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    for path in newest_last[:-_MOST_TERMINALS]:
        path.unlink(missing_ok=True)


class _JobId(_ParamType):
    """An id, or `@last`."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        """See click.ParamType. Raises CliError when this terminal has submitted nothing."""
        if value != LAST:
            return value
        invocation = ctx.find_object(Invocation) if ctx is not None else None
        path = _path(os.environ if invocation is None else invocation.environ)
        try:
            return path.read_text(encoding="utf-8").strip() if path is not None else _refuse("this is not a terminal")
        except OSError:
            return _refuse("nothing was submitted from this terminal yet")


def _refuse(why: str) -> str:
    raise CliError("USAGE", f"{LAST} names no job: {why}", hints=["the newest of all:   jobwire job list --limit 1"])


def _path(environ: Mapping[str, str]) -> Path | None:
    """The file of this terminal's session (a later one may get the same device); None without a terminal."""
    for stream in (0, 1, 2):
        try:
            terminal = os.ttyname(stream)
        except OSError:
            continue
        home = environ.get("XDG_STATE_HOME") or Path(environ.get("HOME") or Path.home(), ".local", "state")
        name = re.sub(r"[^A-Za-z0-9]+", "-", terminal).strip("-")
        return Path(home, "jobwire", "last", f"{name}-{os.getsid(0)}")
    return None


JOB_ID = _JobId()
