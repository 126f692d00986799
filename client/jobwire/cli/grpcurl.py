"""The flag `--show-grpcurl`."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any, TextIO

from jobwire.cli.faults import NO_CALL_TO_SHOW, CliError
from jobwire.cli.invocation import Invocation, Output
from jobwire.cli.sheet import Enough, Sheet


def show(invocation: Invocation, run: Callable[[], Any]) -> None:
    """Run a command on a sheet, and print the sheet: `{"grpcurl": [line, ...], "then": text or null}` with -o json.

    What the command itself would print is dropped: it would be of answers that nobody gave. Raises what the command
    raises before its first call, and CliError USAGE when it makes none.
    """
    sheet = Sheet()
    stdout, stderr = invocation.stdout, invocation.stderr
    invocation.sheet, invocation.stdout, invocation.stderr = sheet, _nowhere(), _nowhere()
    try:
        run()
    except Enough:
        pass
    except Exception:
        if not sheet.lines:
            raise
        sheet.then = "what the answers say"  # the command could do nothing with an empty one
    finally:
        invocation.stdout, invocation.stderr = stdout, stderr
    if not sheet.lines:
        raise CliError("USAGE", f"{NO_CALL_TO_SHOW}{_instead(sheet)}")
    _print(invocation, sheet)


def _instead(sheet: Sheet) -> str:
    return f" ({sheet.then})" if sheet.then else ""


def _nowhere() -> TextIO:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8")


def _print(invocation: Invocation, sheet: Sheet) -> None:
    output, stdout = invocation.output.nearest, invocation.stdout
    if output is Output.JSON:
        stdout.write(json.dumps({"grpcurl": sheet.lines, "then": sheet.then or None}, ensure_ascii=False) + "\n")
    elif output is Output.JSONL:
        stdout.writelines(json.dumps({"grpcurl": line}, ensure_ascii=False) + "\n" for line in sheet.lines)
    elif output is not Output.NONE:
        stdout.writelines(line + "\n" for line in sheet.lines)
    stdout.flush()
    if sheet.then and not output.for_machines and not invocation.flags.get("quiet"):
        invocation.stderr.write(f"then: {sheet.then}\n")
        invocation.stderr.flush()
