"""Every code that an error may have, from the tables that make them: for `jobwire explain`, offline."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from jobwire.cli.faults import LOCAL_CODES, ExitCode, exit_code_for
from jobwire.errors import CATALOGUE, LOCAL_REASONS

_CALL_FAILED = "a call failed: the server's answer"
_LOCAL = "made on this side: it never travels"
_OF_JOBS = "the error of a job: JobError.type"

_REPEAT: Mapping[str, str] = MappingProxyType({
    "UNAVAILABLE": "yes, with the same key: it may have been done",
    "DEADLINE_EXCEEDED": "yes, with the same key and more time: it may have been done",
    "RESOURCE_EXHAUSTED": "yes, later: nothing was changed",
    "OUT_OF_RANGE": "not as it is: watch again from the current state",
    "INTERNAL": "once, with the same key; then report it",
})  # fmt: skip
_NO_REPEAT = "no: the same call gets the same answer, and nothing was changed"

_POLICY = "as the job's policy says"
_JOB_ERRORS: Mapping[str, tuple[str, str, str]] = MappingProxyType({
    "TIMEOUT": ("The attempt ran longer than its attempt_timeout.", _POLICY,
                "give the job more time (--attempt-timeout), or make its handler faster"),
    "LEASE_LOST": ("The lease ended without an outcome: the worker or the server died, or was silent for too long.",
                   _POLICY, "look for the worker's end in its log: killed, out of memory, network"),
    "POISONED": ("Three leases in a row were lost while the server lived: the job is taken for the cause.", "no",
                 "run it alone, with --slots 1, and see what becomes of the worker; then jobwire job retry ID"),
    "RECOVERY_FAILED": ("The job could not be put back after its lease was lost.", "no",
                        "read the server's log, then jobwire job retry ID"),
    "PAYLOAD_MISMATCH": ("The payload does not fit the handler's parameters.", "no",
                         "submit it with another payload: jobwire job clone ID --edit"),
    "RESULT_UNFIT": ("What the handler returned cannot be stored: not to be encoded, or too large.", "no",
                     "return plain JSON, or where the data is"),
    "OUTCOME_REFUSED": ("The server refused the outcome that the worker reported; the message says why.", "no",
                        "mend the handler"),
    "UNKNOWN_TYPE": ("The worker was given a job of a type that it has no handler for.", _POLICY,
                     "start a worker that has one; jobwire worker list shows the types"),
    "CHILD_NOT_STARTED": ("The child process for the handler could not be started.", _POLICY,
                          "look at the worker's log and its limits"),
    "CHILD_UNUSABLE": ("The child process for the handler could not be talked to.", _POLICY,
                       "look at the worker's log"),
    "PROGRAM_NOT_STARTED": ("The program for the job could not be started; the message says why.", _POLICY,
                            "check the program on the worker's machine"),
    "Retry": ("The handler raised Retry, or the program exited with 75.", "as the handler says", "read its message"),
    "Fail": ("The handler raised Fail, or the program exited with 65.", "no", "read its message"),
    "EXIT_1": ("The program exited with 1; so for every other exit code that has no meaning.", _POLICY,
               "read the end of its stderr: jobwire job describe ID"),
    "SIGSEGV": ("The program was killed by this signal; so for every other one.", _POLICY,
                "SIGKILL is often the memory limit of the machine"),
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What there is to know about one code."""

    code: str
    kind: str
    meaning: str
    grpc_code: str | None = None
    """Status that it travels with."""
    repeat: str
    """Whether to try again."""
    advice: str
    """What to do now; "" = nothing beyond that."""
    exit_code: int | None = None
    """Of the command that meets it."""

    def as_document(self) -> dict[str, Any]:
        """One object for programs."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """The entry for people."""
        yield f"{self.code}  ({self.kind})"
        yield f"  {self.meaning}"
        if self.grpc_code:
            yield f"  gRPC status   {self.grpc_code}"
        yield f"  try again?    {self.repeat}"
        if self.exit_code is not None:
            yield f"  exit code     {self.exit_code}"
        if self.advice:
            yield f"  → {self.advice}"


def entries() -> Iterator[Entry]:
    """Yield all: what servers send, what is made here, what jobs fail with. A code may be there as two kinds."""
    for reason, error in CATALOGUE.items():
        yield _of_class(reason, inspect.cleandoc(error.__doc__ or ""), error.status, error.advice)
    for code, (exit_code, meaning) in LOCAL_CODES.items():
        if code not in CATALOGUE:
            yield Entry(code=code, kind=_LOCAL, meaning=meaning, repeat=_repeat_here(code, exit_code), advice="",
                        exit_code=int(exit_code))  # fmt: skip
    for name, (meaning, repeat, advice) in _JOB_ERRORS.items():
        yield Entry(code=name, kind=_OF_JOBS, meaning=meaning, repeat=repeat, advice=advice)


def _of_class(reason: str, meaning: str, status: str, advice: str) -> Entry:
    local = reason in LOCAL_REASONS
    return Entry(
        code=reason,
        kind=_LOCAL if local else _CALL_FAILED,
        meaning=meaning,
        grpc_code=status or None,
        repeat=_NO_REPEAT if local and status not in _REPEAT else _REPEAT.get(status, _NO_REPEAT),
        advice="; ".join(advice.splitlines()),
        exit_code=int(exit_code_for(reason, status or None)),
    )


def _repeat_here(code: str, exit_code: ExitCode) -> str:
    match exit_code:
        case ExitCode.UNREACHABLE:
            return _REPEAT["UNAVAILABLE"]
        case ExitCode.USAGE:
            return "not as it is: change the command line or its input"
        case ExitCode.PARTIAL if code == "PARTIAL":
            return "yes: the same command goes on with what is left"
        case _:
            return "see its message"


def find(code: str) -> list[Entry]:
    """Every entry of a code, in any case, with or without the brackets of `error[CODE]`."""
    wanted = code.strip().removeprefix("error").strip("[]").casefold()
    return [entry for entry in entries() if entry.code.casefold() == wanted]


def near(code: str) -> list[str]:
    """Codes that are written alike, the likeliest first."""
    import difflib  # noqa: PLC0415 - only for mistakes

    known = {entry.code.casefold(): entry.code for entry in entries()}
    wanted = code.strip().strip("[]").casefold()
    alike = difflib.get_close_matches(wanted, known, n=3, cutoff=0.55)
    alike += [name for name in known if wanted and wanted in name and name not in alike]
    return [known[name] for name in alike[:3]]
