"""Values with sensible content for tests that look at one field of them."""

from __future__ import annotations

import itertools
from typing import Any

from jobwire_server.domain.job import Content, NewJob

_numbers = itertools.count(1)

PAYLOAD = Content(b'{"n": 1}', "application/json")


def new_job(**fields: Any) -> NewJob:
    """Return a plain valid job of type `work` with an id of its own, as if the server had made it."""
    defaults: dict[str, Any] = {
        "job_id": f"job-{next(_numbers):06}",
        "id_chosen": False,
        "type": "work",
        "payload": PAYLOAD,
    }
    return NewJob(**{**defaults, **fields})
