"""From a failed call to the error of the tree: google.rpc details when the server sent some, else what gRPC says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from jobwire.errors import (
    CallTimeout,
    ErrorDetails,
    JobwireError,
    PayloadTooLarge,
    ServerUnreachable,
    Violation,
    error_class,
)

DOMAIN = "jobwire.dev"
_DETAILS_KEY = "grpc-status-details-bin"


class Place(NamedTuple):
    """Where a call went."""

    address: str
    origin: str
    """Where the address came from: see `Settings.origin`."""
    rpc: str
    seconds: float | None
    """The call's deadline."""


def error_from(grpc_code: str, text: str, metadata: Iterable[tuple[str, str | bytes]], place: Place) -> JobwireError:
    """Make the error for a call that ended with `grpc_code` (a canonical name) and the trailing `metadata`."""
    for key, value in metadata:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            error = _error_of_details(grpc_code, text, value)
            if error is not None:
                return error
    return _error_of_transport(grpc_code, text, place)


def _error_of_details(grpc_code: str, text: str, encoded: bytes) -> JobwireError | None:
    """Read the server's own words. None when they are not ours: a proxy may speak too."""
    try:
        status = status_pb2.Status.FromString(encoded)
        found = _Found()
        for detail in status.details:
            found.take(detail)
    except DecodeError:
        return None
    if not found.reason:
        return None
    return error_class(found.reason, grpc_code)(text or status.message, found.details(grpc_code))


class _Found:
    """What the details of one status hold."""

    def __init__(self) -> None:
        self.reason = ""
        self._facts: dict[str, str] = {}
        self._violations: tuple[Violation, ...] = ()
        self._retry_after: timedelta | None = None

    def take(self, detail: object) -> None:
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:  # type: ignore[attr-defined]  # an Any of google.rpc, untyped
            self.reason, self._facts = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):  # type: ignore[attr-defined]
            self._violations = tuple(Violation(each.field, each.description) for each in bad.field_violations)
        elif detail.Unpack(retry):  # type: ignore[attr-defined]
            self._retry_after = retry.retry_delay.ToTimedelta()

    def details(self, grpc_code: str) -> ErrorDetails:
        return ErrorDetails(
            code=self.reason,
            grpc_code=grpc_code,
            facts=self._facts,
            violations=self._violations,
            retry_after=self._retry_after,
        )


# --- no details: the transport, a proxy, or a foreign server speaks --------------------------------------------------

_CUT = re.compile(
    r"CANCELLED|RST_STREAM|[Ss]tream removed|GOAWAY|[Ss]ocket closed|Connection reset|[Cc]onnection .*closed"
)
_HTTP_STATUS = re.compile(r"[Rr]eceived http2 header with status: (\d{3})")
_LONGEST_ACCOUNT = 300
_TOO_BIG = re.compile(r"(?:Received|Sent) message larger than max \((\d+) vs\. (\d+)\)")


def _error_of_transport(grpc_code: str, text: str, place: Place) -> JobwireError:
    if grpc_code == "DEADLINE_EXCEEDED":
        return call_timeout(place)
    # A server that dies resets its streams in several ways, one that stops cancels the calls that it still has: they
    # all mean the same. What the caller cancels itself does not come here.
    is_cut = grpc_code == "CANCELLED" or (grpc_code in ("INTERNAL", "UNKNOWN") and _CUT.search(text))
    if grpc_code == "UNAVAILABLE" or is_cut:
        return unreachable(text, place)
    too_big = _TOO_BIG.search(text)
    if grpc_code == "RESOURCE_EXHAUSTED" and too_big:
        actual, limit = too_big.groups()
        facts = {"limit": limit, "actual": actual}
        return PayloadTooLarge(f"A message of {actual} bytes is over the limit of {limit}.", ErrorDetails(facts=facts))
    details = ErrorDetails(
        code=grpc_code,
        grpc_code=grpc_code,
        facts={"address": place.address, "rpc": place.rpc, "transport": text[:_LONGEST_ACCOUNT]},
    )
    return error_class("", grpc_code)(_sentence_of(grpc_code, text, place), details)


def _sentence_of(grpc_code: str, text: str, place: Place) -> str:
    """Say what came back. Words of gRPC itself are said in ours; those of an unknown server are its own."""
    if status := _HTTP_STATUS.search(text):
        return f"A proxy or web server at {place.address} answered {place.rpc} with HTTP status {status[1]}."
    if grpc_code == "UNIMPLEMENTED":
        return f"The server at {place.address} does not know the call {place.rpc}."
    if "deserializing response" in text:
        return f"The answer of {place.address} to {place.rpc} cannot be read: client and server do not fit together."
    return f"{place.rpc} at {place.address} was answered with {grpc_code}: {text or 'no further words'}."


def call_timeout(place: Place) -> CallTimeout:
    """Make the error for a call whose deadline passed."""
    within = f" within {place.seconds:g} s" if place.seconds is not None else " in time"
    return CallTimeout(
        f"The server at {place.address} did not answer {place.rpc}{within}.",
        ErrorDetails(
            grpc_code="DEADLINE_EXCEEDED",
            facts={"address": place.address, "origin": place.origin, "rpc": place.rpc},
        ),
    )


class _Cause(NamedTuple):
    pattern: re.Pattern[str]
    short: str
    why: str
    sent: bool
    """False when the request surely never left this machine."""


_CONNECTING = "failed to connect to all addresses"
_NO_GRPC = "Another program listens there, which speaks no gRPC."
# The first that matches counts. What is matched are the words of gRPC, which people are never shown.
_CAUSES = (
    _Cause(re.compile(r"Connection refused"), "connection refused", "Nothing listens there.", False),
    _Cause(re.compile(r"No such file or directory"), "no such socket", "There is no such Unix socket.", False),
    _Cause(re.compile(r"Permission denied"), "permission denied", "The socket may not be opened by this user.", False),
    _Cause(
        re.compile(r"DNS resolution failed|[Nn]ame resolution|getaddrinfo|Name or service not known|Domain name not|"
                   r"errors resolving|address lookup failed"),
        "name not found",
        "The host's name could not be resolved.",
        False,
    ),
    _Cause(
        re.compile(r"Hostname Verification|Peer name .* is not in peer certificate"),
        "certificate of another name",
        "The server's certificate is not for this host name.",
        False,
    ),
    _Cause(re.compile(r"certificate has expired"), "certificate expired", "The server's certificate is over.", False),
    _Cause(
        re.compile(r"CERTIFICATE_VERIFY_FAILED"),
        "certificate not trusted",
        "The authority that issued the server's certificate is not trusted here.",
        False,
    ),
    _Cause(
        re.compile(r"security handshaker"),
        "TLS files unusable",
        "A file of this client holds no usable certificates or key (PEM), or they do not belong together.",
        False,
    ),
    _Cause(re.compile(r"WRONG_VERSION_NUMBER"), "TLS handshake failed", "The other side speaks no TLS.", False),
    _Cause(
        re.compile(r"[Hh]andshake|SSL|TLS|[Cc]ertificate"),
        "TLS handshake failed",
        "One side speaks TLS and the other does not, or a certificate was not accepted.",
        False,
    ),
    _Cause(_HTTP_STATUS, "a proxy answered", "A proxy or web server stands there, with an error of its own.", True),
    _Cause(re.compile(r"Failed parsing HTTP/2|http1\.x server"), "no gRPC", _NO_GRPC, False),
    _Cause(re.compile(r"[Nn]etwork is unreachable|No route to host"), "no route", "There is no way there.", False),
    _Cause(
        re.compile(r"[Cc]onnection timed out|[Tt]imed? ?out.*connect|connect.*[Tt]ime"),
        "no answer",
        "Nobody answers there; a firewall may swallow what is sent.",
        False,
    ),
    _Cause(re.compile(r"keepalive|ping timeout"), "no answer to pings", "The other side is frozen or gone.", True),
    _Cause(
        re.compile(f"{_CONNECTING}.*(?:{_CUT.pattern})", re.DOTALL),
        "it hung up",
        "Somebody takes the connection and ends it: perhaps TLS or a certificate is wanted, or it is no gRPC server.",
        False,
    ),
    _Cause(_CUT, "connection lost", "The connection ended in the middle of the call.", True),
)  # fmt: skip
_NO_ANSWER = _Cause(re.compile(""), "no answer", "The connection could not be made, or broke.", True)


def unreachable(text: str, place: Place) -> ServerUnreachable:
    """Make the error for an address that gave no answer. `text` is gRPC's account of it."""
    cause = next((each for each in _CAUSES if each.pattern.search(text)), _NO_ANSWER)
    unsent = _CONNECTING in text or not cause.sent
    facts = {
        "address": place.address,
        "origin": place.origin,
        "cause": cause.short,
        "rpc": place.rpc,
        "sent": "no" if unsent else "maybe",
    }
    if cause is _NO_ANSWER:  # for a report, where no sentence of ours says more
        facts["transport"] = text[:_LONGEST_ACCOUNT]
    return ServerUnreachable(
        f"Cannot reach the server at {place.address} ({cause.short}).",
        ErrorDetails(
            why=f"{cause.why} Address came from: {place.origin}.",
            hint="start one: jobwire dev\nor name another address: JOBWIRE_ADDRESS=HOST:PORT",
            grpc_code="UNAVAILABLE",
            facts=facts,
        ),
    )
