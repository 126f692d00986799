"""Rows of an outbox: a job that is to be, written down so that every submit of it says the same."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, Unpack, cast

from jobwire._ambient import Ambient
from jobwire._requests import Moment, Submission, SubmitOptions, submit_request
from jobwire.codecs import encode
from jobwire.durations import aware, parse_duration
from jobwire.errors import ArgumentInvalid
from jobwire.models import RetryPolicy
from jobwire.payload import Payload

_DURATIONS: Final = ("timeout", "retention")
_TIMES: Final = ("at", "expires")
_PLAIN: Final = ("queue", "priority", "max_attempts")
_BACKOFFS: Final = ("initial_backoff", "max_backoff")


class NewRow(NamedTuple):
    """What is written. The columns have these names; the database adds `position`, which rises."""

    id: str
    """Id of the job, and key of its submit."""
    type: str
    payload: bytes | None
    content_type: str
    content_encoding: str
    is_text: bool
    options: str
    """Submit options as JSON; times absolute, so that they stay the same until the row is relayed."""
    create_time: str
    """UTC, ISO 8601."""


class Row(NamedTuple):
    """What a relay reads."""

    position: int
    id: str
    type: str
    payload: bytes | None
    content_type: str
    content_encoding: str
    is_text: bool
    options: str

    def submission(self) -> Submission:
        """Make the submit of this row; the same whenever it is made. Raises ValueError when the row is damaged."""
        payload = None
        if self.payload is not None:
            payload = Payload(bytes(self.payload), self.content_type, self.content_encoding, bool(self.is_text))
        return Submission(self.type, payload, {**_options_of(self.options), "key": self.id, "job_id": self.id})


def new_row(job_type: str, payload: object = None, /, **options: Unpack[SubmitOptions]) -> NewRow:
    """Make a row for a job, as `Client.submit` would submit it now.

    options: those of `Client.submit`, but for `key` and `job_id`: the row has an id of its own, which is both. `delay`
    and a relative `expires` count from now, not from the relay. Raises ArgumentInvalid, NotEncodable, PayloadTooLarge:
    what a client can check is checked here, so that a row that cannot be submitted is not committed.
    """
    ambient = Ambient()
    now = ambient.clock.now()
    if options.get("key") is not None or options.get("job_id") is not None:
        raise ArgumentInvalid("A row of an outbox has an id of its own, which is the key and the id of its job.")
    encoded = encode(payload)
    fixed = _fixed({name: value for name, value in options.items() if value is not None}, now)
    row = NewRow(
        id=ambient.new_id(),
        type=job_type,
        payload=None if encoded is None else encoded.data,
        content_type="" if encoded is None else encoded.content_type,
        content_encoding="" if encoded is None else encoded.content_encoding,
        is_text=encoded is not None and encoded.is_text,
        options=json.dumps(fixed, separators=(",", ":"), sort_keys=True),
        create_time=now.isoformat(timespec="microseconds"),
    )
    submission = Row(0, *row[:-1]).submission()
    submit_request(submission.type, submission.payload, submission.options, Moment(now, ambient.new_id))
    return row


def _fixed(options: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Options as JSON values that mean the same at any time."""
    fixed: dict[str, Any] = {name: options[name] for name in _PLAIN if name in options}
    fixed |= {name: dict(options[name]) for name in ("labels", "headers") if name in options}
    fixed |= {name: parse_duration(options[name], name=name).total_seconds() for name in _DURATIONS if name in options}
    if "delay" in options:
        if "at" in options:
            raise ArgumentInvalid("Give delay or at, not both.")
        fixed["at"] = (now + parse_duration(options["delay"], name="delay")).isoformat()
    if "at" in options:
        fixed["at"] = aware(options["at"], name="at").astimezone(UTC).isoformat()
    if "expires" in options:
        ends = options["expires"]
        if not isinstance(ends, datetime):
            ends = now + parse_duration(ends, name="expires")
        fixed["expires"] = aware(ends, name="expires").astimezone(UTC).isoformat()
    if "retry" in options:
        fixed["retry"] = {
            name: value.total_seconds() if isinstance(value, timedelta) else value
            for name, value in dataclasses.asdict(options["retry"]).items()
            if value not in (None, ())
        }
    return fixed


def _options_of(text: str) -> SubmitOptions:
    try:
        options: dict[str, Any] = json.loads(text)
        options |= {name: datetime.fromisoformat(options[name]) for name in _TIMES if name in options}
        if "retry" in options:
            retry = options["retry"]
            retry |= {name: timedelta(seconds=retry[name]) for name in _BACKOFFS if name in retry}
            if "non_retryable_error_types" in retry:
                retry["non_retryable_error_types"] = tuple(retry["non_retryable_error_types"])
            options["retry"] = RetryPolicy(**retry)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"The options of the row cannot be read: {error}.") from error
    return cast("SubmitOptions", options)
