"""What the gRPC side can be told, and the facts it reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from jobwire_server.domain.limits import DEFAULT_LIMITS, Limits

_MINUTE_MS: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files in PEM format, read once at start."""

    certificate: Path
    """The server's certificate, followed by those of the authorities between it and the root."""
    key: Path
    client_ca: Path | None = None
    """When set, every client must show a certificate that this authority signed (mutual TLS)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcSettings:
    """Bounds and addresses of the gRPC server."""

    listen: tuple[str, ...] = ("127.0.0.1:7780",)
    """`HOST:PORT` (port 0 = any) or `unix:/absolute/path`."""
    tls: Tls | None = None
    """Applies to every TCP address; Unix sockets are guarded by their file mode."""
    max_unary_calls: int = 2000
    """Unary calls in flight; beyond it TOO_MANY_REQUESTS. Long polls count as streams."""
    max_request_bytes: int = 256 << 20
    """Bytes of unary requests in flight; beyond it TOO_MANY_REQUESTS."""
    max_streams: int = 4000
    """Open streams and long polls; beyond it TOO_MANY_STREAMS."""
    max_stream_age_seconds: float = 1800.0
    """A stream ends with STREAM_AGE when it is this old, give or take `stream_age_jitter`."""
    stream_age_jitter: float = 0.1
    slow_consumer_seconds: float = 60.0
    """A stream whose reader does not take one message within this time ends with SLOW_CONSUMER."""
    min_deadline_seconds: float = 0.005
    """A call that arrives with less time left is refused with DEADLINE_TOO_SHORT."""


class RecoveryFacts(NamedTuple):
    """What recovery did when this process started."""

    returned: int = 0
    still_leased: int = 0
    failed: int = 0
    waiting: int = 0
    duration_us: int = 0
    retries: int = 0


def no_trouble() -> str:
    """Say that nothing is wrong."""
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What GetServerInfo tells, beside limits and positions."""

    version: str
    store_kind: str = "sqlite"
    types: tuple[str, ...] = ()
    """Those that the server's own pool serves, also while it is away."""
    start_time_us: int = 0
    recovery: RecoveryFacts | None = None
    max_depth: int = 0
    """Most jobs that have not ended; 0 = no bound."""
    pool_trouble: Callable[[], str] = no_trouble
    """Says why the server's own pool runs no jobs now, "" when it does or there is none."""


def channel_options(limits: Limits = DEFAULT_LIMITS) -> list[tuple[str, int]]:
    """Return the options of the gRPC core."""
    return [
        # A second server on the same port must fail, not take half of the connections.
        ("grpc.so_reuseport", 0),
        # More than our own limit: gRPC refuses what is larger without a reason that a program could read.
        ("grpc.max_receive_message_length", 4 * limits.message_bytes),
        ("grpc.max_send_message_length", 8 << 20),
        # More than our own bound of streams: whoever opens too many is told so, instead of waiting without a word.
        ("grpc.max_concurrent_streams", 8192),
        ("grpc.max_metadata_size", 8 << 10),
        ("grpc.absolute_max_metadata_size", 16 << 10),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # keepalive_timeout is not enforced by the core; this one is.
        ("grpc.http2.ping_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.max_connection_idle_ms", 15 * _MINUTE_MS),
        ("grpc.max_connection_age_ms", 30 * _MINUTE_MS),
        # Longer than our own drain of streams, so that they end by themselves.
        ("grpc.max_connection_age_grace_ms", 5 * _MINUTE_MS),
    ]
