"""How much of what the service accepts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jobwire_server.domain.job import DAY_US, SECOND_US

MIN_TIME_US: Final = -62_135_596_800 * SECOND_US
"""0001-01-01T00:00:00Z, the first instant that a protobuf Timestamp can hold."""
MAX_TIME_US: Final = 253_402_300_800 * SECOND_US - 1
"""The last microsecond of the year 9999."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes and counts that the service accepts; GetServerInfo reports them."""

    payload_bytes: int = 1 << 20
    """One payload or one result."""
    message_bytes: int = 4 << 20
    """One request, encoded."""
    batch_size: int = 1000
    labels: int = 32
    label_key_chars: int = 63
    label_value_chars: int = 255
    headers: int = 32
    headers_bytes: int = 8 << 10
    """Keys and values of one job together, in UTF-8."""
    type_chars: int = 200
    request_id_chars: int = 128
    content_type_chars: int = 255
    content_encoding_chars: int = 64
    max_attempts: int = 1000
    non_retryable_error_types: int = 100
    error_type_chars: int = 200
    duration_us: int = 3650 * DAY_US
    """Longest backoff, attempt timeout or retention."""
    reason_chars: int = 1024
    filter_items: int = 100
    """Values in one list of a filter."""
    watch_ids: int = 1000
    page_size: int = 1000
    wait_us: int = 60 * SECOND_US
    """Longest long poll."""
    worker_id_chars: int = 200
    instance_id_chars: int = 64
    user_agent_chars: int = 500
    worker_queues: int = 100
    worker_types: int = 1000
    queue_weight: int = 1000
    max_in_flight: int = 10_000
    """Largest credit window of a worker, and most leases that it may say it holds."""
    min_lease_us: int = SECOND_US
    max_lease_us: int = 3600 * SECOND_US
    """A worker's wish for a lease is held to this range."""
    pull_jobs: int = 100
    """Most jobs of one pull."""
    report_outcomes: int = 1000
    """Most outcomes, or lease updates, of one unary call."""
    frame_items: int = 256
    """Most outcomes and lease updates in one frame of a Work stream."""
    frame_bytes: int = 1 << 20
    """Aim for the size of a frame; one item may be larger."""


DEFAULT_LIMITS: Final = Limits()
