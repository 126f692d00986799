"""The commands that start a server: `jobwire dev` and `jobwire serve`. They parse, call `process`, and print."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobwire.cli.faults import CliError
from jobwire_server.config import (
    CONFIG_VARIABLE,
    SETTINGS,
    Command,
    Config,
    ConfigInvalid,
    Effective,
    Kind,
    Setting,
    assemble,
    resolve,
)

if TYPE_CHECKING:
    from jobwire_server.app import Ready

DEFAULT_ADDRESS = "127.0.0.1:7780"


def _option(setting: Setting, command: Command) -> click.Option:
    """The command line's view of a setting. Values stay text: `config` reads them, whatever place they come from."""
    default = setting.default_for(command)
    shown = "" if default is None or setting.kind is Kind.FLAG else f" Default: {_shown(setting, default)}."
    text = f"{setting.help}{shown} [{setting.variable}]"
    if setting.kind is Kind.FLAG:
        return click.Option([setting.flag], is_flag=True, default=None, help=text)
    return click.Option([setting.flag], metavar=setting.kind.upper().replace(" ", "_"), default=None, help=text)


def _shown(setting: Setting, value: Any) -> str:
    return f"{value:g}s" if setting.kind is Kind.DURATION else str(value)


def _command(command: Command, help_: str, epilog: str) -> click.Command:
    options = [_option(setting, command) for setting in SETTINGS if command in setting.commands]
    config = click.Option(
        ["--config"],
        metavar="FILE",
        default=None,
        type=click.Path(path_type=Path),
        help="Read settings from this TOML file. Default: ./jobwire.toml if there is one, else "
        f"/etc/jobwire/jobwire.toml. [{CONFIG_VARIABLE}]",
    )
    check = click.Option(["--check-config"], is_flag=True, help="Check the settings and exit: 0, or 2 with the reason.")
    show = click.Option(
        ["--print-config"],
        is_flag=True,
        help="Print the settings in force as TOML, with the place that each comes from, and exit.",
    )

    def run(config: Path | None, check_config: bool, print_config: bool, **flags: Any) -> int:
        settings, checked = _read(command, flags, config)
        if print_config or check_config:
            _tell_config(command, settings, everything=print_config)
            return 0
        return _run(checked)

    return click.Command(
        command,
        callback=run,
        params=[*options, config, check, show],
        help=help_,
        epilog=epilog,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )


dev = _command(
    Command.DEV,
    "Start a server for development: on loopback, with a SQLite file, the built-in job types hello, echo, sleep and "
    "fail, and your own ones (--app).",
    "Example: jobwire dev --app jobs:app --slots 4",
)
serve = _command(
    Command.SERVE,
    "Start a server.",
    "Example: jobwire serve --listen 127.0.0.1:7780 --db jobs.db --app jobs:app",
)


def _read(command: Command, flags: dict[str, Any], config_path: Path | None) -> tuple[Sequence[Effective], Config]:
    try:
        settings = resolve(command, flags, os.environ, config_path)
        return settings, assemble(command, settings)
    except ConfigInvalid as error:
        raise click.UsageError(str(error)) from error


def _tell_config(command: Command, settings: Sequence[Effective], *, everything: bool) -> None:
    from jobwire_server.config.report import in_force  # noqa: PLC0415 - a server that starts has no use for it

    if everything:
        click.echo(in_force(command, settings), nl=False)
        return
    named = [f"{each.setting.name} ({each.place})" for each in settings if not each.is_default]
    click.echo(f"The configuration is sound. Not left at its default: {', '.join(named) or 'nothing'}.", err=True)


def _run(config: Config) -> int:
    # Children are spawned, never forked, so gRPC need not keep itself ready for a fork. It reads this when imported.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    from jobwire_server.kernel.loop import loop_factory  # noqa: PLC0415 - after the line above
    from jobwire_server.process import StartFailed, serve_until_signalled  # noqa: PLC0415

    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            code = runner.run(serve_until_signalled(config, os.environ, on_ready=_announce(config)))
    except StartFailed as error:
        raise CliError("START_FAILED", str(error)) from error
    # Nothing is left to be done: spare the interpreter its last walk through every object, which takes 0.1 s and more.
    gc.freeze()
    return code


def _announce(config: Config) -> Callable[[Ready], None]:
    def announce(ready: Ready) -> None:
        lines = _lines_of_dev(config, ready) if config.command is Command.DEV else _lines_of_serve(config, ready)
        lines.append(f"ready {ready.address} in {ready.seconds:.2f} s · Ctrl+C to stop")
        click.echo("\n".join(lines), file=sys.stderr)
        sys.stderr.flush()

    return announce


def _lines_of_dev(config: Config, ready: Ready) -> list[str]:
    elsewhere = "" if ready.address == DEFAULT_ADDRESS else f"export JOBWIRE_ADDRESS={ready.address}"
    tries = [elsewhere, "jobwire run hello -d '\"Ada\"'", f"grpcurl -plaintext {ready.address} list"]
    return [
        *_lines_of_serve(config, ready),
        "  Try it from another terminal:",
        *(f"    {line}" for line in tries if line),
        "",
    ]


def _lines_of_serve(config: Config, ready: Ready) -> list[str]:
    python = ".".join(str(part) for part in sys.version_info[:3])
    sqlite = ".".join(version("apsw").split(".")[:3])
    facts = [
        ("gRPC", ready.address, _security(config)),
        ("Data", _data(config), "forgotten at the end" if config.db is None else "kept between runs"),
        ("Pool", *_pool(config, ready)),
        ("Recovery", *_recovery(ready)),
    ]
    return [
        f"jobwire {version('jobwire')} · Python {python} · grpcio {version('grpcio')} · SQLite {sqlite}",
        "",
        *(f"  {name:<10}{value:<26}  {remark}".rstrip() for name, value, remark in facts),
        "",
    ]


def _security(config: Config) -> str:
    if config.tls is not None:
        return "TLS, clients with certificates only" if config.tls.client_ca else "TLS, no authentication"
    return (
        "no TLS, no auth: OPEN TO ALL WHO REACH IT"
        if config.insecure_no_auth
        else "no TLS, no auth (this machine only)"
    )


def _data(config: Config) -> str:
    return "a temporary file" if config.db is None else str(config.db)


def _pool(config: Config, ready: Ready) -> tuple[str, str]:
    if not ready.types:
        return "none", "no handlers: start with --app MODULE:APP to run jobs here"
    shown = ", ".join(ready.types[:8]) + (f" and {len(ready.types) - 8} more" if len(ready.types) > 8 else "")
    return f"{config.slots} slots", shown


def _recovery(ready: Ready) -> tuple[str, str]:
    report = ready.recovery
    back = f"{report.returned} jobs put back"
    rest = [
        f"{report.waiting} waiting",
        f"{report.still_leased} still leased" if report.still_leased else "",
        f"{report.failed} failed" if report.failed else "",
        f"{report.cancelled} cancelled or expired" if report.cancelled else "",
        f"{report.retries} retries" if report.retries else "",
    ]
    return back, ", ".join(part for part in rest if part) + f" ({report.duration_seconds:.2f} s)"
