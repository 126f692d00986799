"""`jobwire check`: the group, whose mistakes are UNKNOWN. The checks themselves are in `probes`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from jobwire.cli.faults import CliError, as_clause
from jobwire.cli.root import CHECK_COMMANDS, NounGroup
from jobwire.errors import JobwireError


class _Checks(NounGroup):
    """A group whose every mistake is UNKNOWN (3): what monitoring reads must not be mistaken for CRITICAL (2)."""

    def make_context(self, *args: Any, **attributes: Any) -> Any:
        """See click."""
        return _as_unknown(lambda: super(_Checks, self).make_context(*args, **attributes))

    def invoke(self, ctx: click.Context) -> Any:
        """See click."""
        return _as_unknown(lambda: super(_Checks, self).invoke(ctx))


def _as_unknown(step: Callable[[], Any]) -> Any:
    try:
        return step()
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else "jobwire check"
        raise CliError("CHECK_UNKNOWN", as_clause(error.format_message()), hints=[f"see: {path} --help"]) from error
    except JobwireError as error:
        raise CliError("CHECK_UNKNOWN", as_clause(error.message), hints=error.hint.splitlines()) from error


check = _Checks(
    name="check",
    entries=CHECK_COMMANDS,
    help="Probes for monitoring, with exit codes 0, 1, 2, 3.",
    no_args_is_help=True,
)
