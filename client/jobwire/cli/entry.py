"""From the command line to the exit code: the one place where errors become text or JSON."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import click

from jobwire.cli.faults import CliError, ExitCode, as_clause
from jobwire.cli.invocation import Invocation, Output
from jobwire.cli.root import root


def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Run `arguments` (the process's own when None) and return the exit code. Never raises an Exception."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows ? instead of raising
    invocation = Invocation(environ=os.environ, stdout=sys.stdout, stderr=sys.stderr)
    try:
        if instruction := os.environ.get("_JOBWIRE_COMPLETE"):  # a shell asks what the line may go on with
            from jobwire.cli.completing import answer  # noqa: PLC0415 - only for shells

            return answer(root, instruction, invocation)
        with _ending_on_sigterm():
            return _run(given, invocation)
    except BrokenPipeError:
        # `jobwire job list | head -1`: the reader has enough. Python would complain again at exit, hence devnull.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.PIPE_CLOSED


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Make SIGTERM leave through the `finally`s, with exit code 143, so that a JSON document is closed."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(ExitCode.TERMINATED)

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(given: list[str], invocation: Invocation) -> int:
    try:
        # Not root.main(): it answers a closed pipe with exit code 1 by itself.
        with root.make_context("jobwire", given, obj=invocation) as context:
            answer = root.invoke(context)
        invocation.stdout.flush()
        return int(answer) if isinstance(answer, int) else ExitCode.DONE
    except click.exceptions.Exit as end:  # --help, --version
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as help_page:
        click.echo(help_page.format_message(), file=invocation.stderr)
        return ExitCode.USAGE
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last line of defence: a bug is reported
        fault = _fault_of(error)
    _report(fault, invocation, given)
    return fault.exit_code


def _fault_of(error: BaseException) -> CliError:
    match error:
        case CliError():
            return error
        case click.UsageError():
            return _usage_fault(error)
        case click.ClickException():
            return CliError("USAGE", error.format_message())
        case KeyboardInterrupt() | click.Abort():
            return CliError("INTERRUPTED", "interrupted")
        case _:
            return _foreign_fault(error)


def _is_of_interrupt(error: BaseException) -> bool:
    """Tell whether an error only followed from Ctrl+C, which may hit a lock between its release and its renewal."""
    while (cause := error.__context__) is not None:
        if isinstance(cause, KeyboardInterrupt):
            return True
        error = cause
    return False


def _usage_fault(error: click.UsageError) -> CliError:
    path = error.ctx.command_path if error.ctx is not None else "jobwire"
    return CliError("USAGE", as_clause(" ".join(error.format_message().split())), hints=[f"see: {path} --help"])


def _foreign_fault(error: BaseException) -> CliError:
    from jobwire.errors import JobwireError  # noqa: PLC0415 - most commands that get here have it loaded

    if not isinstance(error, JobwireError):
        return CliError("INTERRUPTED", "interrupted") if _is_of_interrupt(error) else _bug(error)
    from jobwire.cli.refusals import fault_of  # noqa: PLC0415

    return fault_of(error)


def _bug(error: BaseException) -> CliError:
    import tempfile  # noqa: PLC0415 - only for bugs
    import traceback  # noqa: PLC0415

    with tempfile.NamedTemporaryFile(
        "w", prefix="jobwire-report-", suffix=".txt", delete=False, encoding="utf-8"
    ) as report:
        report.write("".join(traceback.format_exception(error)))
    return CliError(
        "UNEXPECTED",
        f"{type(error).__name__}: {error}",
        why=["This is a bug in jobwire."],
        hints=[f"report it with this file:   {report.name}"],
        details={"report": report.name},
    )


def _report(fault: CliError, invocation: Invocation, given: list[str]) -> None:
    if _machine_output(invocation, given):
        print(json.dumps(fault.as_document(), ensure_ascii=False), file=invocation.stderr)
        return
    text = fault.as_text()
    if _certainly(lambda: invocation.coloured(invocation.stderr)):
        head, _, rest = text.partition("]")
        text = click.style(head + "]", fg="red", bold=True) + rest
    print(text, file=invocation.stderr)


def _certainly(ask: Callable[[], bool]) -> bool:
    """Ask for something that decides but how an error looks: a setting that cannot be read is no second error."""
    from jobwire.errors import JobwireError  # noqa: PLC0415 - only for errors

    try:
        return ask()
    except JobwireError:
        return False


def _machine_output(invocation: Invocation, given: list[str]) -> bool:
    """Tell whether errors are wanted as JSON, also when the fault hit the parser before it came to `-o`."""
    if "output" not in invocation.flags:
        names = [str(value) for value in Output if value.for_machines]
        joined = {f"{flag}{name}" for name in names for flag in ("-o", "--output=")}
        pairs = itertools.pairwise(given)
        if joined.intersection(given) or any(flag in {"-o", "--output"} and value in names for flag, value in pairs):
            return True
    return _certainly(lambda: invocation.output.for_machines)
