"""How a handler's return value becomes a result: None is no result, bytes and `Payload` go as they are, protobuf
messages in their own form, everything else as JSON (dataclasses and pydantic models as objects)."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from jobwire.payload import Payload

_JSON = "application/json"


class ResultUnfit(Exception):
    """The handler ran, but what it returned cannot be stored. Running it again would not help."""


def encode(value: Any) -> Payload | None:
    """Turn a return value into a result. Raises ResultUnfit with a sentence."""
    if value is None:
        return None
    if isinstance(value, Payload):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Payload(bytes(value), "application/octet-stream")
    if hasattr(value, "SerializeToString") and hasattr(value, "DESCRIPTOR"):
        return Payload(value.SerializeToString(), f"application/x-protobuf; type={value.DESCRIPTOR.full_name}")
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
        return Payload(text.encode(), _JSON, "", is_text=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultUnfit(
            f"The handler returned a {type(value).__name__} that is no JSON: {error}. "
            "Return JSON values, bytes, a Payload or a protobuf message."
        ) from error


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"a {type(value).__name__} stands in it")
