"""The global flags, which stand before or after the command, and the classes of commands that know them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from jobwire.cli.invocation import DEFAULT_ADDRESS, Invocation, Output, TimeStyle
from jobwire.cli.params import DURATION


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
        flag("-a", "--address", metavar="HOST:PORT",
             help=f"The server; also unix:PATH. Environment: JOBWIRE_ADDRESS. Default: {DEFAULT_ADDRESS}."),
        flag("--timeout", type=DURATION, help="Deadline of each call. Default: 10s."),
        flag("-o", "--output", type=click.Choice([str(value) for value in Output]), help="Format of stdout."),
        flag("--fields", metavar="A,B", help="These fields only, in tables and JSON; `--fields help` lists them."),
        flag("--time", type=click.Choice([str(style) for style in TimeStyle]),
             help="Times in tables and lines. Default: relative in tables on a terminal, else iso."),
        flag("-q", "--quiet", is_flag=True, flag_value=True, help="No talk on stderr, errors only."),
        flag("--color", type=click.Choice(["auto", "always", "never"]), help="Colours. Default: auto."),
        flag("--tls-ca", metavar="FILE", help="Speak TLS; the server's authority (PEM)."),
        flag("--tls-cert", metavar="FILE", help="Speak TLS; this client's certificate (PEM)."),
        flag("--tls-key", metavar="FILE", help="Speak TLS; this client's key (PEM)."),
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
        own = [param for param in self.get_params(ctx) if id(param) not in known]
        for title, params in (("Options", own), ("Global options", self._global_options)):
            records = [record for param in params if (record := param.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def command(name: str, **attributes: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a command of a function; its first argument is the Invocation."""

    def decorate(function: Callable[..., Any]) -> Command:
        return click.command(name, cls=Command, **attributes)(click.pass_obj(function))

    return decorate
