"""What was submitted, and whether it is what a test expects."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from jobwire.codecs import decode, encode
from jobwire.errors import NotDecodable, NotEncodable
from jobwire.models import Job, JobState
from jobwire.worker.handler import Handler

_SHOWN: Final = 5
"""Most jobs that a message shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """One job, as it is now."""

    job_id: str
    type: str
    queue: str
    payload: Any
    """Decoded. Where the test's app has a handler for the type, arguments that were given by place have their names."""
    state: JobState
    priority: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    schedule_time: datetime | None = None
    """Not before this time; None = at once."""


def submitted_of(job: Job, handler: Handler[..., Any] | None) -> Submitted:
    """Read a job in the full view."""
    spec = job.spec
    try:
        payload = decode(spec.payload)
    except NotDecodable:
        payload = spec.payload.data if spec.payload is not None else None
    return Submitted(
        job_id=job.job_id,
        type=spec.type,
        queue=spec.queue,
        payload=payload if handler is None else _named(payload, handler),
        state=job.status.state,
        priority=spec.priority,
        labels=dict(spec.labels),
        schedule_time=spec.schedule_time,
    )


def _named(payload: Any, handler: Handler[..., Any]) -> Any:
    """Give names to arguments that have only places, where the handler knows them."""
    arguments = handler.arguments
    if arguments.whole is not None or isinstance(payload, dict) or payload is None:
        return payload
    values = payload if isinstance(payload, list) else [payload]
    if len(values) > len(arguments.places):
        return payload
    return dict(zip(arguments.places, values, strict=False))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a job must look like: its whole payload (at most one), and fields that its payload must have."""

    payload: tuple[Any, ...]
    fields: Mapping[str, Any]

    def fits(self, job: Submitted) -> bool:
        """Whether it does. What is expected is compared as it would travel: a date as its text, a model as its JSON."""
        if self.payload and not _same(job.payload, self.payload[0]):
            return False
        if not self.fields:
            return True
        payload = job.payload
        return isinstance(payload, dict) and all(
            name in payload and _same(payload[name], value) for name, value in self.fields.items()
        )

    def __str__(self) -> str:
        parts = [*(f"payload {value!r}" for value in self.payload), *(f"{n}={v!r}" for n, v in self.fields.items())]
        return f" with {', '.join(parts)}" if parts else ""

    def difference(self, job: Submitted) -> list[str]:
        """Lines that show what is expected (-) against what is there (+)."""
        if not self.payload and not self.fields:
            return []
        actual = job.payload
        expected = _plain(self.payload[0]) if self.payload else _plain(dict(self.fields))
        if self.fields and isinstance(actual, dict):
            # What the test says nothing about is no difference.
            expected = {**actual, **expected}
        return list(difflib.ndiff(_lines(expected), _lines(actual)))


def _same(actual: Any, expected: Any) -> bool:
    # The other way round first: objects that equal whatever they like, such as mock.ANY, stand on the left.
    return bool(expected == actual) or _plain(expected) == actual


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    try:
        return decode(encode(value))
    except (NotEncodable, NotDecodable):
        return value


def _lines(value: Any) -> list[str]:
    return json.dumps(value, indent=2, sort_keys=True, default=repr, ensure_ascii=False).splitlines()


def missing(job_type: str, wanted: Wanted, of_type: Sequence[Submitted], others: Iterable[str]) -> str:
    """Say that a job that should have been submitted was not, and what was."""
    lines = [f"No job of type {job_type!r} was submitted{wanted}."]
    if of_type:
        lines.append(f"Of this type there {'is 1' if len(of_type) == 1 else f'are {len(of_type)}'}:")
    for job in of_type[:_SHOWN]:
        lines.append(f"  {_title(job)} (- expected, + submitted)")
        lines += [f"    {line}" for line in wanted.difference(job) if not line.startswith("?")]
    counts = Counter(others)
    if counts:
        lines.append("Of other types: " + ", ".join(f"{name} ({count})" for name, count in sorted(counts.items())))
    elif not of_type:
        lines.append("Nothing was submitted at all.")
    return "\n".join(lines)


def surplus(job_type: str, wanted: Wanted, found: Sequence[Submitted]) -> str:
    """Say that jobs were submitted that should not have been."""
    lines = [f"{len(found)} of type {job_type!r} should not have been submitted{wanted}:"]
    lines += [f"  {_title(job)}, payload {job.payload!r:.200}" for job in found[:_SHOWN]]
    return "\n".join(lines)


def _title(job: Submitted) -> str:
    return f"{job.job_id}, queue {job.queue}, {job.state}"
