"""The command as a process: what it imports, how it takes signals, what it shows on a terminal."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from tests.cli.scripted import ScriptedServer
from tests.cli.terminal import Terminal, without_escapes

PROGRAM = Path(sys.executable).with_name("jobwire")


@pytest.fixture
def environ(server: ScriptedServer) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "CLICOLOR_FORCE"}}
    return {**kept, "JOBWIRE_ADDRESS": server.address, "TERM": "xterm-256color"}


def imported_by(*arguments: str, environ: dict[str, str] | None = None) -> set[str]:
    """The modules that a command imports."""
    code = (
        "import sys\nfrom jobwire.cli import main\nmain(sys.argv[1:])\nprint(*sorted(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, env=environ
    )
    return set(done.stderr.splitlines()[-1].split())


def heavy(modules: set[str]) -> set[str]:
    roots = {"apsw", "asyncio", "google", "grpc", "jobwire_server", "rich", "structlog"}
    return {root for root in roots if root in modules}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["submit", "--help"]])
def test_help_costs_click_and_little_else(arguments: list[str]) -> None:
    # The help of a command imports its module, hence protobuf; that of the program imports neither.
    allowed = {"asyncio", "google", "grpc"} if arguments[0] == "submit" else set()

    assert heavy(imported_by(*arguments)) <= allowed


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_loads_click_and_the_frame_of_the_command_line_and_nothing_else(arguments: list[str]) -> None:
    modules = imported_by(*arguments)

    foreign = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names - {"__main__", "jobwire"}
    assert {name for name in foreign if not name.startswith("_")} <= {"click", "sitecustomize", "usercustomize"}
    assert {name for name in modules if name.startswith("jobwire")} <= {
        "jobwire", "jobwire.cli", *(f"jobwire.cli.{name}" for name in
                                    ("entry", "faults", "flags", "invocation", "params", "root", "versions")),
    }  # fmt: skip
    assert modules & {"asyncio", "ssl", "tomllib", "json.tool", "urllib.request"} == set()


@pytest.mark.parametrize(
    "command", [["config", "--help"], ["config", "show"], ["check", "--help"], ["config", "set", "-h"]]
)
def test_settings_are_read_without_grpc(command: list[str]) -> None:
    assert heavy(imported_by(*command)) - {"google"} == set()


def test_a_client_command_never_imports_the_server_nor_rich_in_a_pipe(environ: dict[str, str]) -> None:
    modules = imported_by("run", "hello", environ=environ)

    assert "grpc" in modules
    assert heavy(modules) & {"apsw", "jobwire_server", "rich", "structlog"} == set()


def test_help_lists_the_servers_commands_without_importing_them() -> None:
    done = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, check=True)

    assert re.search(r"^  dev +Start a server for development", done.stdout, re.MULTILINE)
    assert re.search(r"^  serve +Start a server", done.stdout, re.MULTILINE)


def test_a_reader_who_has_enough_ends_the_command_quietly(server: ScriptedServer, environ: dict[str, str]) -> None:
    running = subprocess.Popen(
        [PROGRAM, "watch", "--since", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ, text=True
    )
    assert running.stdout is not None
    subprocess.run([PROGRAM, "submit", "hello", "-q"], env=environ, check=True, stdout=subprocess.DEVNULL)
    running.stdout.readline()
    running.stdout.close()
    subprocess.run([PROGRAM, "submit", "hello", "-q"], env=environ, check=True, stdout=subprocess.DEVNULL)

    errors = errors_of(running)
    assert running.returncode == 141
    assert errors == ""


def errors_of(running: subprocess.Popen[str]) -> str:
    """Read what is left of stderr, and wait for the end."""
    assert running.stderr is not None
    errors = running.stderr.read()
    running.stderr.close()
    running.wait(timeout=20)
    return errors


def test_ctrl_c_in_run_leaves_the_job_running_and_says_how_to_look(
    server: ScriptedServer, environ: dict[str, str]
) -> None:
    running = subprocess.Popen(
        [PROGRAM, "run", "stuck", "--job-id", "mine"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ,
        text=True,
    )  # fmt: skip
    assert running.stderr is not None
    wait_for_line(running.stderr, "PROCESSING")
    running.send_signal(signal.SIGINT)

    assert running.stdout is not None
    assert running.stdout.read() == ""
    running.stdout.close()
    errors = errors_of(running)
    assert running.returncode == 130
    assert errors.splitlines() == [
        "error[INTERRUPTED] interrupted; the job goes on: mine",
        "  → look:      jobwire job get mine",
        "  → follow:    jobwire watch mine",
        "  → stop it:   jobwire job cancel mine",
    ]
    assert not [rpc for rpc, _ in server.service.calls if rpc == "CancelJob"]


def wait_for_line(stream: IO[str], word: str) -> None:
    for line in stream:
        if word in line:
            return
    raise AssertionError(f"the stream ended without {word}")


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_json_document_is_closed_when_a_signal_ends_the_command(
    server: ScriptedServer, environ: dict[str, str], number: signal.Signals, exit_code: int
) -> None:
    running = subprocess.Popen(
        [PROGRAM, "watch", "-o", "json", "--since", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ,
        text=True,
    )  # fmt: skip
    subprocess.run([PROGRAM, "submit", "hello", "-q"], env=environ, check=True, stdout=subprocess.DEVNULL)
    assert running.stdout is not None
    first = running.stdout.readline() + running.stdout.readline()
    running.send_signal(number)

    document = first + running.stdout.read()
    running.stdout.close()
    errors_of(running)
    assert running.returncode == exit_code
    assert json.loads(document)["events"][0]["job_id"] == "job-1"


def test_on_a_terminal_run_shows_symbols_and_words_and_the_result_last(
    server: ScriptedServer, environ: dict[str, str]
) -> None:
    exit_code, shown = Terminal().run([PROGRAM, "run", "flaky", "--job-id", "mine"], environ)

    text = without_escapes(shown)
    assert exit_code == 0
    assert "\x1b[" in shown
    assert "◷ mine  flaky  queue=default" in text
    assert "↻ retrying attempt 1 failed: ValueError: no luck · next in 4.00s" in text
    assert "✓ completed in 8.00s (2 attempts)" in text
    assert text.split()[-1] == "{}"


def test_on_a_terminal_the_live_line_shows_progress(server: ScriptedServer, environ: dict[str, str]) -> None:
    server.service.hold_after_progress = True
    exit_code, shown = Terminal().run([PROGRAM, "run", "flaky"], environ)

    assert exit_code == 0
    assert re.search(r"◐ processing +attempt 1/20 .* 41 % +rendered 410/1000", without_escapes(shown))


def test_the_result_of_a_run_goes_to_a_pipe_while_the_terminal_shows_progress(
    server: ScriptedServer, environ: dict[str, str]
) -> None:
    ours, theirs = os.pipe()
    exit_code, shown = Terminal().run([PROGRAM, "run", "hello"], environ, stdout=theirs)
    os.close(theirs)
    result = os.read(ours, 100)
    os.close(ours)

    assert exit_code == 0
    assert result == b'"Hello, world"\n'
    assert "Hello, world" not in shown


def test_a_dumb_terminal_gets_lines(server: ScriptedServer, environ: dict[str, str]) -> None:
    _, shown = Terminal().run([PROGRAM, "run", "hello"], {**environ, "TERM": "dumb"})

    assert "\x1b[" not in shown
    assert "PROCESSING attempt=1/20" in shown


def test_a_table_on_a_terminal_has_ages_and_fits_its_width(server: ScriptedServer, environ: dict[str, str]) -> None:
    subprocess.run([PROGRAM, "submit", "longfail", "-q"], env=environ, check=True, stdout=subprocess.DEVNULL)

    _, shown = Terminal().run([PROGRAM, "job", "list"], environ)

    heading, row = without_escapes(shown).splitlines()
    assert "AGE" in heading
    assert len(row) == 100
    assert row.endswith("…")
