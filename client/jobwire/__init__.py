"""jobwire: a durable job service, client side.

    from jobwire import Client

    with Client() as client:
        job = client.submit("hello", "Ada")
        print(job.result(timeout="30s"))

Names are loaded when they are first used: `import jobwire` itself costs nothing, and nothing but gRPC and protobuf is
imported by all of them together.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobwire._operations import WatchOptions as WatchOptions
    from jobwire._requests import CallOptions as CallOptions
    from jobwire._requests import Submission as Submission
    from jobwire._requests import SubmitOptions as SubmitOptions
    from jobwire.aio import AsyncClient as AsyncClient
    from jobwire.app import App as App
    from jobwire.app import Cancel as Cancel
    from jobwire.app import Fail as Fail
    from jobwire.app import JobContext as JobContext
    from jobwire.app import Retry as Retry
    from jobwire.app import Snooze as Snooze
    from jobwire.app import current_job as current_job
    from jobwire.client import Client as Client
    from jobwire.codecs import decode as decode
    from jobwire.codecs import encode as encode
    from jobwire.errors import CallTimeout as CallTimeout
    from jobwire.errors import Conflict as Conflict
    from jobwire.errors import JobCancelled as JobCancelled
    from jobwire.errors import JobExpired as JobExpired
    from jobwire.errors import JobFailed as JobFailed
    from jobwire.errors import JobwireError as JobwireError
    from jobwire.errors import NotFound as NotFound
    from jobwire.errors import QuotaExceeded as QuotaExceeded
    from jobwire.errors import ServerUnreachable as ServerUnreachable
    from jobwire.errors import Unavailable as Unavailable
    from jobwire.errors import WaitTimeout as WaitTimeout
    from jobwire.handle import AsyncJobHandle as AsyncJobHandle
    from jobwire.handle import JobHandle as JobHandle
    from jobwire.handle import SubmitResult as SubmitResult
    from jobwire.models import Job as Job
    from jobwire.models import JobEvent as JobEvent
    from jobwire.models import JobEventType as JobEventType
    from jobwire.models import JobFilter as JobFilter
    from jobwire.models import JobState as JobState
    from jobwire.models import JobStatus as JobStatus
    from jobwire.models import JobUpdate as JobUpdate
    from jobwire.models import RetryPolicy as RetryPolicy
    from jobwire.models import ServerInfo as ServerInfo
    from jobwire.models import WatchCursor as WatchCursor
    from jobwire.models import WorkerInfo as WorkerInfo
    from jobwire.payload import Payload as Payload
    from jobwire.submitting import JobFunction as JobFunction
    from jobwire.submitting import Submitter as Submitter

_HOMES = {
    "_operations": ("WatchOptions",),
    "_requests": ("CallOptions", "Submission", "SubmitOptions"),
    "aio": ("AsyncClient",),
    "app": ("App", "Cancel", "Fail", "JobContext", "Retry", "Snooze", "current_job"),
    "client": ("Client",),
    "codecs": ("decode", "encode"),
    "errors": (
        "CallTimeout",
        "Conflict",
        "JobCancelled",
        "JobExpired",
        "JobFailed",
        "JobwireError",
        "NotFound",
        "QuotaExceeded",
        "ServerUnreachable",
        "Unavailable",
        "WaitTimeout",
    ),
    "handle": ("AsyncJobHandle", "JobHandle", "SubmitResult"),
    "models": (
        "Job",
        "JobEvent",
        "JobEventType",
        "JobFilter",
        "JobState",
        "JobStatus",
        "JobUpdate",
        "RetryPolicy",
        "ServerInfo",
        "WatchCursor",
        "WorkerInfo",
    ),
    "payload": ("Payload",),
    "submitting": ("JobFunction", "Submitter"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605  # every name of the table, and no other


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
