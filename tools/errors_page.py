"""docs/reference/errors.md: the reason catalogue, from the classes of `domain/errors.py` and their gRPC codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from jobwire import errors as client_errors
from jobwire_server.domain.errors import JobwireError, Refused, Unavailable
from jobwire_server.rpc.status import CODES, DETAILS_KEY, DOMAIN, PUSHBACK_KEY
from tools.markdown import generated_from, table

_INTRODUCTION: Final = f"""\
# Errors

Every error of the service carries `google.rpc.ErrorInfo` with the domain `{DOMAIN}` and one of the reasons below. The
reason is the only error code: it never changes its meaning, programs match on it, and the CLI prints it. The message
is for people and may change; `ErrorInfo.metadata` holds its changing parts. Details travel where gRPC puts them, in the
trailer `{DETAILS_KEY}`.

- `FIELD_INVALID` adds `google.rpc.BadRequest` with the path and a sentence for each field, at most 20.
- `RESOURCE_EXHAUSTED` adds `google.rpc.QuotaFailure`, and `NOT_FOUND` `google.rpc.ResourceInfo`.
- `RESOURCE_EXHAUSTED` and `UNAVAILABLE` add `google.rpc.RetryInfo`: the least time to wait. `TOO_MANY_REQUESTS` says it
  in the trailer `{PUSHBACK_KEY}` as well, which gRPC's own retries obey.

**A definite refusal changed nothing, in any table.** Only after `UNAVAILABLE`, `DEADLINE_EXCEEDED`, `CANCELLED` and
`UNKNOWN` a call may or may not have taken effect. Repeating it with the same `request_id` settles that.

The failure of a job is not an error of a call: it stands in `JobStatus.last_error`."""

_CODES: Final[Mapping[str, str]] = {
    "INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION": "Do not repeat the call as it is.",
    "OUT_OF_RANGE": "Open the watch again with `send_initial_state`, without `after`: its cursor is of no use.",
    "RESOURCE_EXHAUSTED": "Wait as long as `RetryInfo` says, then repeat; nothing was changed.",
    "UNAVAILABLE": (
        "Wait, with backoff and jitter, and repeat with the same `request_id`; open a watch again with its cursor."
    ),
    "DEADLINE_EXCEEDED": "Repeat with the same `request_id` and a longer deadline.",
    "INTERNAL": "A bug of the server. Report it with the `error_id`.",
}

_FAILURES: Final[Mapping[str, tuple[str, str]]] = {
    "TIMEOUT": ("The attempt ran longer than its `attempt_timeout`.", "as the policy says"),
    "LEASE_LOST": (
        "The lease ended without an outcome: the worker or the server died, or was silent for too long.",
        "as the policy says",
    ),
    "POISONED": ("Three leases in a row were lost while the server lived: the job is taken for the cause.", "no"),
    "RECOVERY_FAILED": ("The job could not be put back after its lease was lost; the server's log says why.", "no"),
    "PAYLOAD_MISMATCH": ("The payload does not fit the handler's parameters.", "no"),
    "RESULT_UNFIT": ("What the handler returned cannot be stored: not to be encoded, or too large.", "no"),
    "OUTCOME_REFUSED": ("The server refused the outcome that the worker reported; the message says why.", "no"),
    "UNKNOWN_TYPE": ("The worker was given a job of a type that it has no handler for.", "as the policy says"),
    "CHILD_NOT_STARTED": ("The child process for the handler could not be started.", "as the policy says"),
    "CHILD_UNUSABLE": ("The child process for the handler could not be talked to.", "as the policy says"),
    "PROGRAM_NOT_STARTED": (
        "The program for the job could not be started; the message says why.",
        "as the policy says",
    ),
    "Retry": (
        "The handler raised `Retry`, or the program exited with 75; the message is its reason.",
        "as the handler says",
    ),
    "Fail": ("The handler raised `Fail`, or the program exited with 65; the message is its reason.", "no"),
    "EXIT_1": ("The program exited with 1; so for every other exit code that has no meaning.", "as the policy says"),
    "SIGSEGV": ("The program was killed by this signal; so for every other one.", "as the policy says"),
}

_ADVICE: Final[Mapping[str, str]] = {
    "FIELD_INVALID": "Correct the fields that `BadRequest` names.",
    "PAYLOAD_TOO_LARGE": "Keep the data elsewhere and pass a reference to it; send fewer jobs in one call.",
    "BATCH_TOO_LARGE": "Split the batch; the limit is in `ServerInfo.max_batch_size`.",
    "REQUEST_ID_REUSED": "Use a new `request_id` for a new request; the one that was used stands for other content.",
    "LEASE_TOKEN_MALFORMED": "Send the `lease_token` of the assignment, byte for byte.",
    "PROTOCOL_VIOLATION": "Mend the worker: the message names what was sent and what the protocol allows.",
    "PAGE_TOKEN_INVALID": "Start the list again without a token.",
    "PAGE_TOKEN_MISMATCH": "Start the list again, or repeat the filter and view of the call that made the token.",
    "JOB_NOT_FOUND": "Check the id; a job is removed when its retention is over.",
    "JOB_ID_TAKEN": "Choose another id, or none. A `request_id` is what makes a submit safe to repeat.",
    "JOB_TERMINAL": "Nothing: the job has ended.",
    "JOB_NOT_TERMINAL": "Wait for the job's end, or cancel it first.",
    "JOB_SUCCEEDED": "Submit a new job.",
    "LEASE_LOST": "Throw the result away: another attempt has taken over, or will.",
    "REVISION_COMPACTED": "Open the watch again with `send_initial_state`, without `after`.",
    "REVISION_IN_FUTURE": "Open the watch again with `send_initial_state`, without `after`.",
    "STORE_EPOCH_CHANGED": "Open the watch again with `send_initial_state`, without `after`.",
    "QUEUE_FULL": "Wait as `RetryInfo` says; add workers, or raise `max_depth`.",
    "STORE_FULL": "Free disk space on the server: it goes on by itself. Running jobs may still finish.",
    "TOO_MANY_STREAMS": "Watch many jobs in one stream, or close some.",
    "TOO_MANY_REQUESTS": "Wait as `RetryInfo` says; send fewer calls at once, in batches.",
    "SLOW_CONSUMER": "Open the watch again with the last cursor; read faster, or ask for `conflate`.",
    "DEADLINE_TOO_SHORT": "Give the call more time; nothing was done.",
    "NOT_READY": "Wait and repeat: the server is starting.",
    "DRAINING": "Connect again; a watch goes on from its last cursor.",
    "STREAM_AGE": "Open the stream again at once: a watch with its last cursor, a worker with the leases it holds.",
    "WORKER_SILENT": "Open the stream again at once, with the leases that the worker holds.",
    "STORE_UNAVAILABLE": "Wait and repeat with the same `request_id`; it may have been done.",
    "INTERNAL": "Report it with the `error_id` of the metadata; the server's log has the rest.",
}


def render() -> str:
    """Return the page."""
    catalogue = client_errors.CATALOGUE
    blocks = [
        generated_from("`domain/errors.py` and `rpc/status.py`"),
        _INTRODUCTION,
        "## Reasons",
        table(("Reason", "gRPC code", "Meaning", "What a client does", "In Python"), _reasons()),
        "## What a client does with a code whose reason it does not know",
        table(("gRPC code", "What a client does"), _CODES.items()),
        "## Errors of jobs",
        "`JobError.type` is the handler's own word for what went wrong (by default the name of the exception), or:",
        table(("Type", "Meaning", "Retried"), ((f"`{name}`", *texts) for name, texts in _FAILURES.items())),
        "## Reasons that the Python client makes itself",
        "They never travel.",
        table(
            ("Reason", "Meaning"),
            ((f"`{reason}`", _meaning(catalogue[reason])) for reason in sorted(client_errors.LOCAL_REASONS)),
        ),
    ]
    return "\n\n".join(blocks) + "\n"


def reasons() -> Mapping[str, type[JobwireError]]:
    """Every reason that the server sends, with the class that raises it, in the order of the catalogue."""
    classes: list[type[JobwireError]] = [JobwireError, *_concrete(Refused), *_concrete(Unavailable)]
    return {error.reason: error for error in sorted(classes, key=lambda error: list(_ADVICE).index(error.reason))}


def _concrete(base: type[JobwireError]) -> Iterator[type[JobwireError]]:
    for error in base.__subclasses__():
        yield error
        yield from _concrete(error)


def _reasons() -> Iterator[tuple[str, ...]]:
    for reason, error in reasons().items():
        in_python = client_errors.CATALOGUE[reason]
        meaning = "A bug of the server." if reason == "INTERNAL" else _meaning(error)
        yield f"`{reason}`", CODES[reason].name, meaning, _ADVICE[reason], f"`{in_python.__name__}`"


def _meaning(error: type[Exception]) -> str:
    """The first paragraph of its docstring."""
    return (error.__doc__ or "").strip().split("\n\n")[0]
