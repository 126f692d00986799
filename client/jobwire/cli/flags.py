"""The global flags, which stand before or after the command, and the classes of commands that know them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from jobwire.cli.faults import NO_CALL_TO_SHOW
from jobwire.cli.invocation import COLORS, Invocation, Output, TimeStyle
from jobwire.cli.params import DURATION

DEFAULT_ADDRESS = "127.0.0.1:7780"


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Keep a flag that was given; the one after the command is parsed last and so wins."""
    if value is not None and param.name is not None:
        ctx.ensure_object(Invocation).flags[param.name] = value
    return value


def _show_version(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from jobwire.cli.versions import installed_version  # noqa: PLC0415 - only here

        click.echo(f"jobwire {installed_version('jobwire')}")
        ctx.exit()


def global_options() -> list[click.Option]:
    """Make the global flags anew (a click option belongs to one command)."""

    def flag(*names: str, **attributes: Any) -> click.Option:
        return click.Option(names, expose_value=False, callback=_remember, default=None, **attributes)

    return [
        flag("-c", "--context", metavar="NAME", help="Settings under a name: see `jobwire config`. Environment: "
             "JOBWIRE_CONTEXT. Default: what `jobwire config use` chose."),
        flag("-a", "--address", metavar="HOST:PORT", help="The server; also unix:PATH. Environment: JOBWIRE_ADDRESS. "
             f"Default: {DEFAULT_ADDRESS}."),
        flag("--timeout", type=DURATION, help="Deadline of each call. Default: 10s."),
        flag("-o", "--output", type=click.Choice([str(value) for value in Output]), help="Format of stdout."),
        flag("--fields", metavar="A,B", help="These fields only, in tables and JSON; `--fields help` lists them."),
        flag("--time", type=click.Choice([str(style) for style in TimeStyle]),
             help="Times in tables and lines. Default: relative in tables on a terminal, else iso."),
        flag("-q", "--quiet", is_flag=True, flag_value=True, help="No talk on stderr, errors only."),
        flag("-v", "--verbose", count=True, type=int, help="Say on stderr where the calls go; -vv also each "
             "call, how it ended and how long it took."),
        flag("--color", type=click.Choice(COLORS), help="Colours. Default: auto."),
        flag("--tls/--no-tls", is_flag=True, help="Speak TLS, or do not. Default: with any of the next four."),
        flag("--tls-ca", metavar="FILE", help="The server's authority (PEM)."),
        flag("--tls-cert", metavar="FILE", help="This client's certificate (PEM)."),
        flag("--tls-key", metavar="FILE", help="This client's key (PEM)."),
        flag("--tls-server-name", metavar="NAME", help="Name that the server's certificate must bear. Default: the "
             "host of the address."),
        flag("--show-grpcurl", is_flag=True, flag_value=True, help="Call nothing: print the grpcurl lines that do "
             "the same."),
        click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
                     help="Show the version and exit."),
    ]  # fmt: skip


class Command(click.Command):
    """A command that takes the global flags too, but those whose name it uses itself (`wait --timeout`)."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        attributes.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*args, **attributes)
        taken = {name for param in self.params for name in param.opts}
        self._global_options = [option for option in global_options() if not taken.intersection(option.opts)]
        self.params.extend(self._global_options)

    def own_params(self) -> list[click.Parameter]:
        """The parameters that are not global flags."""
        known = {id(option) for option in self._global_options}
        return [param for param in self.params if id(param) not in known]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options first, then the global ones."""
        known = {id(option) for option in self._global_options}
        own = [param for param in self.get_params(ctx) if id(param) not in known and isinstance(param, click.Option)]
        for title, params in (("Options", own), ("Global options", self._global_options)):
            records = [record for param in params if (record := param.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def command(name: str, *, makes_calls: bool = True, **attributes: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a command of a function; its first argument is the Invocation.

    `makes_calls`: False for a command that asks no server, for which --show-grpcurl is an error.
    """

    def decorate(function: Callable[..., Any]) -> Command:
        @functools.wraps(function)
        def begin(invocation: Invocation, *args: Any, **given: Any) -> Any:
            if not invocation.flags.get("show_grpcurl"):
                return function(invocation, *args, **given)
            if not makes_calls:
                raise click.UsageError(NO_CALL_TO_SHOW)
            from jobwire.cli.grpcurl import show  # noqa: PLC0415 - only when asked

            return show(invocation, lambda: function(invocation, *args, **given))

        return click.command(name, cls=Command, **attributes)(click.pass_obj(begin))

    return decorate
