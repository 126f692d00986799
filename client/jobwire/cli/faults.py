"""Errors of the command line: what failed, why, what to do now, and the exit code that says so.

The code in the brackets is the `reason` of google.rpc.ErrorInfo when the server refused, else a local one: see
LOCAL_CODES.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import Any

NO_CALL_TO_SHOW = "--show-grpcurl: this command makes no call that could be shown"


class ExitCode(IntEnum):
    """What the process answers. Documented in docs/reference/cli.md."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    JOB_FAILED = 3
    JOB_STOPPED = 4
    WAIT_TIMEOUT = 5
    NOT_FOUND = 6
    CONFLICT = 7
    NOT_ALLOWED = 8
    UNREACHABLE = 9
    EXHAUSTED = 10
    PARTIAL = 11
    INCOMPATIBLE = 12
    INTERRUPTED = 130
    PIPE_CLOSED = 141
    TERMINATED = 143


LOCAL_CODES: Mapping[str, tuple[ExitCode, str]] = MappingProxyType({
    "USAGE": (ExitCode.USAGE, "The command line is wrong."),
    "ARGUMENT_INVALID": (ExitCode.USAGE, "A value was refused before anything was sent."),
    "CONFIG_INVALID": (ExitCode.USAGE, "The file of contexts or the environment says something that cannot be used."),
    "INPUT_UNREADABLE": (ExitCode.USAGE, "A file or stdin cannot be read, or holds no valid data."),
    "OUTPUT_UNWRITABLE": (ExitCode.USAGE, "A file cannot be written."),
    "COMMAND_UNAVAILABLE": (ExitCode.USAGE, "The command comes with a package that cannot be loaded."),
    "APP_UNUSABLE": (ExitCode.USAGE, "`MODULE:APP` cannot be imported, is no App, or its handlers cannot be used."),
    "PROGRAM_NOT_FOUND": (ExitCode.USAGE, "There is no program of this name to run jobs with."),
    "WORKER_REFUSED": (ExitCode.UNEXPECTED, "The server will not have this worker any more; the message says why."),
    "JOB_FAILED": (ExitCode.JOB_FAILED, "The job ended FAILED."),
    "JOB_CANCELLED": (ExitCode.JOB_STOPPED, "The job ended CANCELLED."),
    "JOB_EXPIRED": (ExitCode.JOB_STOPPED, "The job ended EXPIRED."),
    "WAIT_TIMEOUT": (ExitCode.WAIT_TIMEOUT, "The time to wait is over; the job goes on."),
    "JOB_DELETED": (ExitCode.NOT_FOUND, "The job was deleted while it was watched."),
    "CONDITION_IMPOSSIBLE": (ExitCode.CONFLICT, "The job is COMPLETED, and so will never be what was waited for."),
    "NOT_CERTIFIED": (ExitCode.JOB_FAILED, "A program failed points of `conformance`, or made no call at all."),
    "BENCH_FAILED": (ExitCode.UNEXPECTED, "No call of a `bench` succeeded."),
    "CHECK_UNKNOWN": (ExitCode.JOB_FAILED, "`check` cannot tell: the command line or a setting is wrong."),
    "SERVER_UNREACHABLE": (ExitCode.UNREACHABLE, "No server answers at the address."),
    "CALL_TIMEOUT": (ExitCode.UNREACHABLE, "The server did not answer before the call's deadline (`--timeout`)."),
    "NOT_CONFIRMED": (ExitCode.USAGE, "A command that changes many jobs got no yes, by `--yes` or on a terminal."),
    "PARTIAL": (ExitCode.PARTIAL, "Some of several jobs were refused; each is named on stderr."),
    "STORE_NOT_FOUND": (ExitCode.NOT_FOUND, "There is no store, or no backup, at the path."),
    "STORE_IN_USE": (ExitCode.CONFLICT, "A server, or another program, has the store open."),
    "STORE_UNREADABLE": (ExitCode.UNEXPECTED, "The file is no store, is damaged, or was written by a newer jobwire."),
    "STORE_DAMAGED": (ExitCode.PARTIAL, "The check of a store found what no server can have written."),
    "TARGET_EXISTS": (ExitCode.CONFLICT, "Something has the name that a backup should get."),
    "START_FAILED": (ExitCode.UNEXPECTED, "The server could not start."),
    "INTERRUPTED": (ExitCode.INTERRUPTED, "Ctrl+C."),
    "UNEXPECTED": (ExitCode.UNEXPECTED, "A bug; a report file is written."),
})  # fmt: skip
"""Codes that no server sends, their exit codes and meaning."""

_EXIT_BY_GRPC_CODE: Mapping[str, ExitCode] = MappingProxyType({
    "INVALID_ARGUMENT": ExitCode.USAGE,
    "NOT_FOUND": ExitCode.NOT_FOUND,
    "ALREADY_EXISTS": ExitCode.CONFLICT,
    "FAILED_PRECONDITION": ExitCode.CONFLICT,
    "ABORTED": ExitCode.CONFLICT,
    "OUT_OF_RANGE": ExitCode.CONFLICT,
    "UNAUTHENTICATED": ExitCode.NOT_ALLOWED,
    "PERMISSION_DENIED": ExitCode.NOT_ALLOWED,
    "UNAVAILABLE": ExitCode.UNREACHABLE,
    "DEADLINE_EXCEEDED": ExitCode.UNREACHABLE,
    "RESOURCE_EXHAUSTED": ExitCode.EXHAUSTED,
    "UNIMPLEMENTED": ExitCode.INCOMPATIBLE,
})  # fmt: skip


def exit_code_for(reason: str, grpc_code: str | None) -> ExitCode:
    """Map an error to the exit code: local codes by their table, the server's by their gRPC status."""
    if reason in LOCAL_CODES:
        return LOCAL_CODES[reason][0]
    if reason == "REQUEST_ID_REUSED":  # a conflict about a key, though gRPC calls it an invalid argument
        return ExitCode.CONFLICT
    return _EXIT_BY_GRPC_CODE.get(grpc_code or "", ExitCode.UNEXPECTED)


def as_clause(sentence: str) -> str:
    """Fit a sentence behind `error[CODE]`: no capital at its start (unless a name's), no full stop."""
    text = sentence.strip().removesuffix(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


class CliError(Exception):
    """An error that a person is told about.

    `message` says what failed, `why` are lines of explanation, `hints` say what to do now, `details` are for machines.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        why: Sequence[str] = (),
        hints: Sequence[str] = (),
        grpc_code: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.why = tuple(why)
        self.hints = tuple(hints)
        self.grpc_code = grpc_code
        self.details = dict(details or {})

    @property
    def exit_code(self) -> ExitCode:
        """The process's answer."""
        return exit_code_for(self.code, self.grpc_code)

    def as_text(self) -> str:
        """Several lines for a person, without the last line end."""
        lines = [f"error[{self.code}] {self.message}"]
        lines += [f"  {line}" for line in self.why]
        lines += [f"  → {hint}" for hint in self.hints]
        return "\n".join(lines)

    def as_document(self) -> dict[str, Any]:
        """One object for a program."""
        return {
            "error": {
                "code": self.code,
                "grpc_code": self.grpc_code,
                "message": self.message,
                "hint": "; ".join(" ".join(hint.split()) for hint in self.hints),
                "details": {**self.details, **({"why": list(self.why)} if self.why else {})},
            }
        }
