"""`jobwire proto` and `jobwire version`."""

from __future__ import annotations

import platform
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import click

from jobwire.cli.faults import CliError
from jobwire.cli.flags import command
from jobwire.cli.invocation import Invocation, Output
from jobwire.cli.versions import installed_version

_SHOWN = ("jobwire", "grpcio", "protobuf")


@command("proto", makes_calls=False, epilog="Example: jobwire proto --out ./protos")
@click.option("--out", "directory", required=True, metavar="DIR", type=click.Path(path_type=Path),
              help="Folder to write jobwire/v1/*.proto into; made when missing.")  # fmt: skip
def proto(invocation: Invocation, directory: Path) -> None:
    """Write the contract's .proto files, to generate clients and workers in other languages.

    Files of the same name are overwritten. -o json prints {"files": [...]}.
    """
    written: list[Path] = []
    try:
        _copy_protos(resources.files("jobwire").joinpath("protos"), directory, written)
    except OSError as error:
        raise CliError("OUTPUT_UNWRITABLE", f"cannot write {error.filename} ({error.strerror})") from error
    if not written:
        raise CliError("COMMAND_UNAVAILABLE", "this installation of jobwire has no .proto files",
                       hints=["reinstall it:   pip install --force-reinstall jobwire"])  # fmt: skip
    _print_paths(invocation, [str(path) for path in written])


def _copy_protos(source: Traversable, target: Path, written: list[Path]) -> None:
    for entry in sorted(source.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            _copy_protos(entry, target / entry.name, written)
        elif entry.name.endswith(".proto"):
            target.mkdir(parents=True, exist_ok=True)
            path = target / entry.name
            path.write_bytes(entry.read_bytes())
            written.append(path)


def _print_paths(invocation: Invocation, paths: list[str]) -> None:
    from jobwire.cli.output import Printer  # noqa: PLC0415 - help pages need no protobuf

    printer = Printer(invocation)
    if printer.output is Output.JSONL:
        printer.documents("files", [{"file": path} for path in paths], identifier="file")
    elif printer.output is Output.ID or printer.output.for_people:
        printer.lines(paths)
    else:
        printer.document(lambda: {"files": paths}, identifier="", text=lambda: None)


@command("version", epilog="Example: jobwire version --server")
@click.option("--server", "ask_server", is_flag=True, help="Ask the server, too.")
def version(invocation: Invocation, ask_server: bool) -> None:
    """Show versions: of this client and, with --server, of the server with its store, limits and last recovery.

    -o json prints {"client": {...}, "server": ServerInfo or null}.
    """
    client = {"python": platform.python_version()} | {name: installed_version(name) for name in _SHOWN}
    from jobwire.cli.output import Printer, document_of  # noqa: PLC0415 - help pages need no protobuf

    printer = Printer(invocation)
    document: dict[str, Any] = {"client": client, "server": None}
    if ask_server:
        from jobwire.cli.server import Server  # noqa: PLC0415

        with Server(invocation) as server:
            document["server"] = document_of(server.info())
    rows = _version_rows(client, document["server"])
    printer.document(lambda: document, identifier=client["jobwire"], text=lambda: "\n".join(rows))


def _version_rows(client: dict[str, str], server: dict[str, Any] | None) -> list[str]:
    rows = [" · ".join([f"jobwire {client['jobwire']}", f"Python {client['python']}",
                        f"grpcio {client['grpcio']}", f"protobuf {client['protobuf']}"])]  # fmt: skip
    if server is None:
        return rows
    revision = server["current"]["revision"] if server["current"] else "0"
    since = server["start_time"] or "unknown"
    rows.append(f"server {server['version']} · store {server['store']} · revision {revision} · since {since}")
    if (report := server["recovery"]) is not None:
        names = ("returned", "still_leased", "failed", "waiting")
        counts = [f"{report[name + '_count']} {name.replace('_', ' ')}" for name in names]
        rows.append("recovery " + " · ".join([*counts, *([report["duration"]] if report["duration"] else [])]))
    if server["pool_trouble"]:
        rows.append(f"pool {server['pool_trouble']}")
    if server["capabilities"]:
        rows.append("capabilities " + ", ".join(server["capabilities"]))
    return rows
