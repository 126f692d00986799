"""Errors as the server puts them on the wire."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

DETAILS_KEY = "grpc-status-details-bin"


def details_of(
    code: StatusCode,
    reason: str,
    message: str = "It was refused.",
    *,
    domain: str = "jobwire.dev",
    facts: dict[str, str] | None = None,
    violations: Sequence[tuple[str, str]] = (),
    retry_after_seconds: int | None = None,
) -> tuple[tuple[str, bytes], ...]:
    """Return the trailing metadata with google.rpc details."""
    parts: list[Message] = [error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=facts or {})]
    if violations:
        fields = [error_details_pb2.BadRequest.FieldViolation(field=f, description=d) for f, d in violations]
        parts.append(error_details_pb2.BadRequest(field_violations=fields))
    if retry_after_seconds is not None:
        parts.append(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=retry_after_seconds)))
    status = status_pb2.Status(code=code.value[0], message=message)
    for part in parts:
        packed = Any()
        packed.Pack(part)
        status.details.append(packed)
    return ((DETAILS_KEY, status.SerializeToString()),)
