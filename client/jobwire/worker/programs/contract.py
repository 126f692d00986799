"""What a program is told, and what its words and its end mean: docs/how-to/workers.md, as functions. No I/O."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from datetime import UTC
from typing import NamedTuple

from jobwire.payload import MAX_PAYLOAD_BYTES, Payload
from jobwire.worker.context import JobContext
from jobwire.worker.text import bounded
from jobwire.worker.transport import Failure, Outcome, Stopped, Success

RETRY_CODE = 75
"""EX_TEMPFAIL of sysexits.h: try again."""
FAIL_CODE = 65
"""EX_DATAERR: no other attempt will help."""
MAX_CHECKPOINT_BYTES = 64 << 10
"""Of a program: it comes back in the environment, where Linux takes 128 KiB a variable."""
MAX_DETAIL_BYTES = 16 << 10
MAX_MESSAGE_BYTES = 1024


def facts_for(context: JobContext, checkpoint: Payload | None) -> Mapping[str, str]:
    """The variables that tell a program of its job."""
    facts = {
        "JOBWIRE_JOB_ID": context.job_id,
        "JOBWIRE_TYPE": context.type,
        "JOBWIRE_QUEUE": context.queue,
        "JOBWIRE_ATTEMPT": str(context.attempt),
        "JOBWIRE_MAX_ATTEMPTS": str(context.max_attempts),
        "JOBWIRE_FENCE": str(context.fence),
    }
    if (deadline := context.deadline) is not None:
        facts["JOBWIRE_DEADLINE"] = deadline.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if checkpoint is not None:
        facts["JOBWIRE_CHECKPOINT"] = checkpoint_text(checkpoint)
    return facts


def checkpoint_text(checkpoint: Payload) -> str:
    """A checkpoint as the environment can hold it. Raises ValueError when it cannot: another kind of worker made it."""
    if len(checkpoint.data) > MAX_CHECKPOINT_BYTES:
        raise ValueError(f"it has {len(checkpoint.data)} bytes, a program's has at most {MAX_CHECKPOINT_BYTES}")
    text = checkpoint.data.decode()
    if "\0" in text:
        raise ValueError("it has a NUL")
    return text


class Progress(NamedTuple):
    """`50 half of it`."""

    percent: float
    message: str | None


def word_of(line: bytes) -> Progress | Payload:
    """Read a line that a program wrote to file 3: progress, or a checkpoint. Raises ValueError with what is wrong."""
    first, _, rest = line.strip().partition(b" ")
    if first == b"checkpoint":
        if len(rest) > MAX_CHECKPOINT_BYTES:
            raise ValueError(f"the checkpoint has {len(rest)} bytes, the most is {MAX_CHECKPOINT_BYTES}")
        json.loads(rest)
        return Payload(rest, "application/json", is_text=True)
    message = rest.strip().decode("utf-8", "replace")
    try:
        return Progress(float(first.removesuffix(b"%")), message or None)
    except ValueError:
        raise ValueError(f"{line[:80]!r} is neither '50 message' nor 'checkpoint JSON'") from None


def result_of(output: bytes) -> Payload | None:
    """What a program printed, with the media type that it looks like; nothing printed is no result."""
    if not output:
        return None
    try:
        text = output.decode()
    except UnicodeDecodeError:
        return Payload(output, "application/octet-stream")
    if "\0" in text:
        return Payload(output, "application/octet-stream")
    return Payload(output, "application/json" if _is_json(text) else "text/plain", is_text=True)


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is Python's, not JSON's")


class End(NamedTuple):
    """How a program ended."""

    code: int
    """Exit code, or the negative number of a signal."""
    output: bytes | None
    """None = more than a result may have."""
    errors: bytes
    """The end of what it wrote to stderr."""


def outcome_of(end: End, stop_reason: str | None) -> Outcome:
    """What the end of a program means for its job. `stop_reason`: it had been told to stop, and why."""
    if end.code == 0 and end.output is not None:
        return Success(result_of(end.output))
    if stop_reason is not None:
        return Stopped(stop_reason)
    if end.output is None:
        text = f"The program printed more than {MAX_PAYLOAD_BYTES} bytes. Keep large results elsewhere, and say where."
        return Failure("RESULT_UNFIT", text, _detail(end), retryable=False)
    match end.code:
        case code if code < 0:
            name = _signal_name(-code)
            return Failure(name, _message(f"killed by {name}", end), _detail(end))
        case code if code == RETRY_CODE:
            return Failure("Retry", _message(f"exit code {code}", end), _detail(end))
        case code if code == FAIL_CODE:
            return Failure("Fail", _message(f"exit code {code}", end), _detail(end), retryable=False)
        case code:
            return Failure(f"EXIT_{code}", _message(f"exit code {code}", end), _detail(end))


def _message(what: str, end: End) -> str:
    lines = end.errors.decode("utf-8", "replace").strip().splitlines()
    return bounded(f"{what}: {lines[-1].strip()}" if lines else what, MAX_MESSAGE_BYTES)


def _detail(end: End) -> str:
    return bounded(end.errors.decode("utf-8", "replace"), MAX_DETAIL_BYTES, keep_end=True)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGNAL_{number}"
