"""What an error carries beside its sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple


class Violation(NamedTuple):
    """One field that the server did not accept."""

    field: str
    """Path in the request, for example `spec.queue`."""
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDetails:
    """What an error carries beside its sentence."""

    code: str = ""
    """Reason; empty = that of the class."""
    grpc_code: str = ""
    """Canonical gRPC status name; empty = that of the class."""
    why: str = ""
    """A second sentence: the cause, for people."""
    hint: str = ""
    """What to do now, one proposal a line; empty = that of the class."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """The dynamic parts of the message, for programs."""
    violations: tuple[Violation, ...] = ()
    retry_after: timedelta | None = None
    """The server's advice when to try again."""
