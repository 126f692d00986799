"""What the exit codes mean, for help and documentation."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from jobwire.cli.faults import ExitCode

EXIT_MEANINGS: Mapping[ExitCode, str] = MappingProxyType({
    ExitCode.DONE: "Done; for `run`, `wait`, `watch` and `job result`: the job is COMPLETED, or the condition holds; "
    "for `work`: drained after a signal or its last job.",
    ExitCode.UNEXPECTED: "Unexpected failure, here or in the server (INTERNAL, UNKNOWN, DATA_LOSS).",
    ExitCode.USAGE: "Wrong usage, a wrong setting, or INVALID_ARGUMENT; also where a yes was needed and not given.",
    ExitCode.JOB_FAILED: "The job ended FAILED; for `conformance`: points failed.",
    ExitCode.JOB_STOPPED: "The job ended CANCELLED or EXPIRED.",
    ExitCode.WAIT_TIMEOUT: "The time to wait is over; the job goes on.",
    ExitCode.NOT_FOUND: "Not found (NOT_FOUND).",
    ExitCode.CONFLICT: "Conflict: the same key with other content, the wrong state (ALREADY_EXISTS, "
    "FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE).",
    ExitCode.NOT_ALLOWED: "Not allowed (UNAUTHENTICATED, PERMISSION_DENIED).",
    ExitCode.UNREACHABLE: "The server cannot be reached, is not ready, or did not answer (UNAVAILABLE, "
    "DEADLINE_EXCEEDED).",
    ExitCode.EXHAUSTED: "A limit is reached (RESOURCE_EXHAUSTED).",
    ExitCode.PARTIAL: "Some of several jobs or lines were refused.",
    ExitCode.INCOMPATIBLE: "Client and server are too far apart in version (UNIMPLEMENTED).",
    ExitCode.INTERRUPTED: "Ctrl+C. The jobs go on.",
    ExitCode.PIPE_CLOSED: "The reader of stdout went away (`| head`).",
    ExitCode.TERMINATED: "SIGTERM. The jobs go on.",
})  # fmt: skip
