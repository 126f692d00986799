"""Opaque data of a payload or a result, as the SDK handles it."""

from __future__ import annotations

from typing import NamedTuple

MAX_PAYLOAD_BYTES = 1 << 20
"""Most bytes of a payload, a result or a checkpoint that a server takes unless told otherwise."""


class Payload(NamedTuple):
    """Bytes with their media type. `is_text`: sent in the contract's `text` arm (UTF-8, readable with grpcurl)."""

    data: bytes
    content_type: str = ""
    content_encoding: str = ""
    is_text: bool = False
