"""What the server and its pool's process say to each other: one JSON object a line, over the pipes between them.

Server: `Plan`, then {"connect": ADDRESS, "worker_id": NAME}, at the end {"drain": SECONDS}. End of file means that the
server is gone. Pool: {"handlers": [TYPE …]}, {"connected": true}, {"health": REASON or null}; instead of each of the
first two {"broken": SENTENCE}.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

LINE_BYTES: Final = 1 << 20
"""Longest line; a thousand job types fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the pool's process is to be."""

    app: str | None
    """MODULE:APP, imported from `directory`, too."""
    directory: str
    builtin: bool
    """Whether the built-in job types of `jobwire dev` are among its handlers."""
    slots: int
    max_jobs_per_child: int
    memory_per_child_bytes: int
    log_format: str
    log_level: str

    @classmethod
    def read(cls, line: bytes) -> Plan:
        """Read the first line that the process is told."""
        return cls(**json.loads(line))


def decode(line: bytes) -> dict[str, Any]:
    """Read a line."""
    message: dict[str, Any] = json.loads(line)
    return message


def encode(message: dict[str, Any] | Plan) -> bytes:
    """Write a line."""
    return json.dumps(asdict(message) if isinstance(message, Plan) else message).encode() + b"\n"
