"""From an error of the SDK to one of the command line: the same code, hints that name commands."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jobwire.cli.faults import CliError, as_clause
from jobwire.errors import JobwireError

_HINTS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "SERVER_UNREACHABLE": (
        "start one:   jobwire dev", "or choose:   jobwire -a HOST:PORT ...", "find out:    jobwire doctor",
    ),
    "CALL_TIMEOUT": ("give it more time:   jobwire --timeout 60s ...",),
    "REQUEST_ID_REUSED": ("use another --key for other content",),
    "JOB_ID_TAKEN": ("use another --job-id, or none",),
    "JOB_NOT_FOUND": ("see what there is:   jobwire job list",),
    "JOB_NOT_TERMINAL": ("wait for it:   jobwire wait ID", "or cancel it:  jobwire job cancel ID"),
    "JOB_SUCCEEDED": ("submit a new job:   jobwire submit TYPE",),
    "UNIMPLEMENTED": ("compare:   jobwire version --server",),
})  # fmt: skip


def fault_of(error: JobwireError) -> CliError:
    """Make the error that a person sees."""
    details: dict[str, Any] = dict(error.facts)
    if error.violations:
        details["violations"] = [violation._asdict() for violation in error.violations]
    if error.retry_after is not None:
        details["retry_after_seconds"] = error.retry_after.total_seconds()
    why = [error.why] if error.why else []
    why += [f"{violation.field}: {violation.description}" for violation in error.violations
            if violation.description not in error.message]  # fmt: skip
    return CliError(
        error.code,
        as_clause(error.message),
        why=why,
        hints=_HINTS.get(error.code, tuple(error.hint.splitlines())),
        grpc_code=error.grpc_code or None,
        details=details,
    )
