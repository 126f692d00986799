"""The one language for choosing jobs: `state:failed,retrying queue:mail type:email.* label.customer:42 age>1h`.

    filter     = condition *( blank condition )              all of them must hold
    condition  = [ "-" ] field ":" value *( "," value )      any of the values; "-" turns it round
               | field ( ">" | ">=" | "<" | "<=" ) limit
    value      = text | text "*" | "~" text                  exactly this, begins with it, contains it (in any case)
    text       = bare | DQUOTE *( char | "\\" DQUOTE | "\\\\" ) DQUOTE

`parse_filter` reads text into a `Filter`, whose `str()` reads back as the same. `split_filter` says which part of
it the server can look for (a `JobFilter`) and which part is left to whoever reads the answers. `compile_filter` insists
on the first part alone. Nothing here does I/O or asks for the time: `now` is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from jobwire._filter_syntax import Condition, FilterInvalid, Form, Limit, OneOf, Span, Value, read, refusal
from jobwire.v1 import job_pb2

__all__ = [
    "FIELDS",
    "Filter",
    "FilterField",
    "FilterInvalid",
    "SplitFilter",
    "compile_filter",
    "parse_filter",
    "split_filter",
]

_STATE_PREFIX = "JOB_STATE_"
_STATES: Mapping[str, Any] = MappingProxyType({  # numbers; to types they are of a class that cannot be made
    name.removeprefix(_STATE_PREFIX).lower(): number
    for name, number in job_pb2.JobState.items()
    if number != job_pb2.JOB_STATE_UNSPECIFIED
})  # fmt: skip


class _Kind(StrEnum):
    """What a field is compared with."""

    STATE = "state"
    WORD = "word"
    NUMBER = "number"
    DURATION = "duration"
    TIME = "time"


class FilterField(NamedTuple):
    """A field that a filter may name, for help texts and documentation."""

    name: str
    kind: str
    meaning: str
    example: str


FIELDS: tuple[FilterField, ...] = (
    FilterField("state", _Kind.STATE, "State, in any case.", "state:failed,retrying"),
    FilterField("queue", _Kind.WORD, "Queue.", "queue:mail"),
    FilterField("type", _Kind.WORD, "Type of the job.", "type:email.send,email.digest"),
    FilterField("label.KEY", _Kind.WORD, "Value of the label KEY.", "label.customer:42"),
    FilterField("batch", _Kind.WORD, "Batch that the job was submitted with.", "batch:nightly-7"),
    FilterField("age", _Kind.DURATION, "Time since the job was submitted.", "age>1h"),
    FilterField("created", _Kind.TIME, "When the job was submitted, with a time zone.", "created<2026-11-21T00:00:00Z"),
    FilterField("error", _Kind.WORD, "Class and message of the last error.", "error:~timeout"),
    FilterField("worker", _Kind.WORD, "Worker of the current or last attempt.", "worker:app-1*"),
    FilterField("attempt", _Kind.NUMBER, "Attempts begun so far.", "attempt>=3"),
    FilterField("priority", _Kind.NUMBER, "Priority, 0 to 9.", "priority>5"),
    FilterField("run", _Kind.DURATION, "Run time of the current attempt, or of an ended job's last.", "run>10m"),
)
"""Every field there is."""

_KINDS: Mapping[str, str] = MappingProxyType({entry.name.removesuffix(".KEY"): entry.kind for entry in FIELDS})
_POSSIBLE = "the server looks for exact values of state, queue, type, label.KEY and batch, for age and for created"


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that was read: conditions that must all hold. No condition: every job."""

    conditions: tuple[Condition, ...]
    text: str = field(default="", compare=False)
    """As it was written."""

    def __str__(self) -> str:
        return " ".join(map(str, self.conditions))


@dataclass(frozen=True, slots=True)
class SplitFilter:
    """A filter in two parts: what the server looks for, and what is left to the reader of its answers."""

    condition: job_pb2.JobFilter
    """The first part."""
    rest: tuple[Condition, ...]
    """The second part: empty when the server does it all."""
    now: datetime
    """The moment that durations were counted from."""

    def keeps(self, job: job_pb2.Job) -> bool:
        """Tell whether a job that the server found also meets the rest."""
        return all(_meets(job, condition, self.now) for condition in self.rest)


def parse_filter(text: str) -> Filter:
    """Read a filter. Raises FilterInvalid, which shows the place and says what to write."""
    conditions = tuple(read(text, is_field=lambda name: name in _KINDS, fields=sorted(_KINDS)))
    checked = tuple(_checked(text, condition) for condition in conditions)
    _refuse_repeats(text, checked)
    return Filter(checked, text)


def compile_filter(text: str, *, now: datetime) -> job_pb2.JobFilter:
    """Return the JobFilter that means the same as `text`; `age` is counted from `now` (aware).

    Raises FilterInvalid: for bad text, and for conditions that a JobFilter cannot hold (wildcards, negations other than
    of states, `error`, `worker`, `attempt`, `priority`, `run`).
    """
    split = split_filter(text, now=now)
    for condition in split.rest:
        raise refusal(text, condition.span, f"{condition} is more than the server can look for", _POSSIBLE)
    return split.condition


def split_filter(text: str, *, now: datetime) -> SplitFilter:
    """Split `text` into what the server looks for and the rest; `age` and `run` are counted from `now` (aware).

    Raises FilterInvalid for bad text, and for conditions that no job can meet.
    """
    parsed = parse_filter(text)
    condition, rest = job_pb2.JobFilter(), []
    states = set(_STATES.values())
    for part in parsed.conditions:
        match part:
            case OneOf(field="state"):
                named = {_STATES[value.text] for value in part.values}
                states = states - named if part.negated else states & named
            case OneOf() if _is_held(part):
                _put(condition, part)
            case Limit(field="age" | "created"):
                _put_bound(condition, part, now)
            case _:
                rest.append(part)
    if not states:
        raise refusal(
            text,
            Span(0, len(text)),
            "no state is left that a job could be in",
            "leave out some of the state: conditions",
        )
    if len(states) < len(_STATES):
        condition.states.extend(sorted(states))
    return SplitFilter(condition, tuple(rest), now)


# --- checks that need the meaning of fields -------------------------------------------------------------------------


def _checked(text: str, condition: Condition) -> Condition:
    kind = _KINDS[condition.field]
    match condition:
        case Limit():
            return _checked_limit(text, condition, kind)
        case OneOf():
            return _checked_values(text, condition, kind)


def _checked_limit(text: str, condition: Limit, kind: str) -> Limit:
    if kind in {_Kind.STATE, _Kind.WORD}:
        raise refusal(text, condition.span, f"{condition.field} cannot be greater or less than something",
               f"write {condition.name}:VALUE")  # fmt: skip
    if condition.negated:
        raise refusal(text, condition.span, "a comparison cannot be negated", "turn its sign round")
    readers: Mapping[str, Callable[[str, Limit], Limit]] = {
        _Kind.NUMBER: _number_limit, _Kind.DURATION: _duration_limit, _Kind.TIME: _time_limit,
    }  # fmt: skip
    return readers[kind](text, condition)


def _number_limit(text: str, condition: Limit) -> Limit:
    if not (condition.limit.isascii() and condition.limit.isdigit() and len(condition.limit) <= 9):
        raise refusal(text, condition.limit_span, f"{condition.limit!r} is not a number", f"write {condition.field}>3")
    return condition.replaced(str(int(condition.limit)))


def _duration_limit(text: str, condition: Limit) -> Limit:
    from jobwire.durations import format_duration, parse_duration  # noqa: PLC0415 - most filters have none
    from jobwire.errors import ArgumentInvalid  # noqa: PLC0415

    try:
        return condition.replaced(format_duration(parse_duration(condition.limit)))
    except ArgumentInvalid as error:
        what = f"{condition.limit!r} is not a duration"
        raise refusal(text, condition.limit_span, what, "write 250ms, 5m, 1h30m, or 7d") from error


def _time_limit(text: str, condition: Limit) -> Limit:
    try:
        moment = datetime.fromisoformat(condition.limit)
        if moment.tzinfo is not None:
            return condition.replaced(moment.astimezone(UTC).isoformat())
    except (ValueError, OverflowError):
        pass
    raise refusal(text, condition.limit_span, f"{condition.limit!r} is not a time with its zone",
           "write 2026-11-21T12:31:04Z, or age<1h for the last hour")  # fmt: skip


def _checked_values(text: str, condition: OneOf, kind: str) -> OneOf:
    match kind:
        case _Kind.DURATION | _Kind.TIME:
            example = next(entry.example for entry in FIELDS if entry.name == condition.field)
            raise refusal(text, condition.span, f"{condition.field} takes a limit, not a value", f"write {example}")
        case _Kind.STATE:
            return condition.replaced(_state_value(text, value) for value in condition.values)
        case _Kind.NUMBER:
            return condition.replaced(_number_value(text, condition, value) for value in condition.values)
        case _:
            return condition


def _state_value(text: str, value: Value) -> Value:
    name = value.text.lower().removeprefix(_STATE_PREFIX.lower())
    if value.form is not Form.EXACT or name not in _STATES:
        raise _no_state(text, value)
    return Value(name, Form.EXACT, value.span)


def _no_state(text: str, value: Value) -> FilterInvalid:
    import difflib  # noqa: PLC0415 - only for mistakes

    near = difflib.get_close_matches(value.text.lower(), _STATES, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return refusal(text, value.span, f"{value.text!r} is no state", f"{meant}states are {', '.join(_STATES)}")


def _number_value(text: str, condition: OneOf, value: Value) -> Value:
    if value.form is not Form.EXACT or not (value.text.isascii() and value.text.isdigit() and len(value.text) <= 9):
        raise refusal(
            text, value.span, f"{value.text!r} is not a number", f"write {condition.field}:3 or {condition.field}>3"
        )
    return Value(str(int(value.text)), Form.EXACT, value.span)


def _refuse_repeats(text: str, conditions: Iterable[Condition]) -> None:
    """Refuse `queue:a queue:b`: written by whoever wants either, and read as both at once it matches nothing."""
    seen: dict[str, OneOf] = {}
    for condition in conditions:
        if not isinstance(condition, OneOf) or condition.negated:
            continue
        first = seen.setdefault(condition.name, condition)
        if first is not condition:
            both = ",".join(str(value) for value in (*first.values, *condition.values))
            raise refusal(text, condition.span, f"{condition.name} stands there twice, and all conditions must hold",
                   f"for either of them write {condition.name}:{both}")  # fmt: skip


# --- what a JobFilter holds -----------------------------------------------------------------------------------------


def _is_held(part: OneOf) -> bool:
    """Tell whether a JobFilter can say this. (An empty queue, type or batch would be no condition to the server.)"""
    if part.negated or any(value.form is not Form.EXACT for value in part.values):
        return False
    match part.field:
        case "queue" | "type":
            return all(value.text for value in part.values)
        case "batch":
            return len(part.values) == 1 and bool(part.values[0].text)
        case "label":
            return len(part.values) == 1
        case _:
            return False


def _put(condition: job_pb2.JobFilter, part: OneOf) -> None:
    texts = [value.text for value in part.values]
    match part.field:
        case "queue":
            condition.queues.extend(texts)
        case "type":
            condition.types.extend(texts)
        case "batch":
            condition.batch_id = texts[0]
        case _:
            condition.labels[part.key] = texts[0]


def _put_bound(condition: job_pb2.JobFilter, part: Limit, now: datetime) -> None:
    """Narrow the time of creation. The bound itself is on the younger side, so that `<` and `>` share out all jobs."""
    older = part.is_above if part.field == "age" else not part.is_above
    moment = now - part.duration if part.field == "age" else part.moment
    if older:
        held = condition.create_time_max.ToDatetime(UTC) if condition.HasField("create_time_max") else moment
        condition.create_time_max.FromDatetime(min(moment, held))
    else:
        held = condition.create_time_min.ToDatetime(UTC) if condition.HasField("create_time_min") else moment
        condition.create_time_min.FromDatetime(max(moment, held))


# --- the rest -------------------------------------------------------------------------------------------------------


def _meets(job: job_pb2.Job, condition: Condition, now: datetime) -> bool:
    match condition:
        case OneOf():
            known = _word(job, condition)
            return any(value.fits(known) for value in condition.values if known is not None) != condition.negated
        case Limit(field="run"):
            seconds = _run_seconds(job, now)
            return seconds is not None and condition.admits(seconds, condition.duration.total_seconds())
        case Limit():
            return condition.admits(_number(job, condition.field), int(condition.limit))


def _word(job: job_pb2.Job, condition: OneOf) -> str | None:
    """What the job has of a field; None = it has none."""
    match condition.field:
        case "queue":
            return job.spec.queue
        case "type":
            return job.spec.type
        case "label":
            return job.spec.labels.get(condition.key)
        case "batch":
            return job.batch_id or None
        case "worker":
            return job.status.worker_id or None
        case "error":
            error = job.status.last_error
            return f"{error.type}: {error.message}" if job.status.HasField("last_error") else None
        case name:
            return str(_number(job, name))


def _number(job: job_pb2.Job, name: str) -> int:
    return job.status.attempt if name == "attempt" else job.spec.priority


def _run_seconds(job: job_pb2.Job, now: datetime) -> float | None:
    status = job.status
    if not status.HasField("start_time"):
        return None
    start = status.start_time.ToDatetime(UTC)
    if status.HasField("finish_time"):
        return (status.finish_time.ToDatetime(UTC) - start) / timedelta(seconds=1)
    return (now - start) / timedelta(seconds=1) if status.state == job_pb2.JOB_STATE_PROCESSING else None
