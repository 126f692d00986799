"""What a request may hold: one table of rules per message, each rule a field, a test and a sentence.

Every check returns the violations it found, at most `MAX_VIOLATIONS`, each with the exact path of its field,
and an empty list when all is well; nothing is altered, cut or coerced. What is too large, rather than wrong,
is an error of its own (`PayloadTooLarge`, `BatchTooLarge`), since it has its own reason.

A valid plain job is recognised without walking its table (`_is_plain`): every submit passes here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from jobwire_server.domain.errors import BatchTooLarge, FieldInvalid, PayloadTooLarge, Refused, Violation
from jobwire_server.domain.job import DAY_US, DEFAULT_QUEUE, Content, NewJob, RetryPolicy, State
from jobwire_server.domain.limits import DEFAULT_LIMITS, Limits
from jobwire_server.domain.rules import (
    ID_SENTENCE,
    QUEUE_SENTENCE,
    TEXT_SENTENCE,
    TIME_SENTENCE,
    Rule,
    broken,
    collect,
    entry_path,
    id_ok,
    is_id,
    is_queue,
    line_ok,
    line_sentence,
    prefix_of,
    queue_ok,
    text_ok,
    time_ok,
    token_ok,
    utf8_bytes,
)


class FilterFields(Protocol):
    """The conditions of a list or a watch, as far as they can be wrong (`store.base.JobFilter` is one)."""

    @property
    def queues(self) -> Sequence[str]: ...
    @property
    def types(self) -> Sequence[str]: ...
    @property
    def states(self) -> Sequence[int]: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def batch_id(self) -> str: ...
    @property
    def create_time_min_us(self) -> int | None: ...
    @property
    def create_time_max_us(self) -> int | None: ...


# --- SubmitJobRequest ---------------------------------------------------------------------------------------


def check_new_job(job: NewJob, path: str, limits: Limits = DEFAULT_LIMITS) -> list[Violation]:
    """Check everything of a new job but sizes in bytes (`refuse_new_job` does both).

    `path` says where the job's request stands ("" or `requests[17]`): a field is `requests[17].spec.queue`.
    """
    if _is_plain(job, limits):
        return []
    return collect(_new_job_violations(job, prefix_of(path), limits))


def refuse_new_job(job: NewJob, path: str, limits: Limits = DEFAULT_LIMITS) -> Refused | None:
    """Return why a new job is not acceptable, sizes included, or None when it is."""
    too_large = check_size(job, path, limits)
    if too_large is not None:
        return too_large
    violations = check_new_job(job, path, limits)
    return FieldInvalid(violations) if violations else None


def check_size(job: NewJob, path: str, limits: Limits = DEFAULT_LIMITS) -> PayloadTooLarge | None:
    """Return the error when the payload or the headers of a new job have too many bytes, else None."""
    if job.payload is not None and len(job.payload.data) > limits.payload_bytes:
        return payload_too_large(f"{prefix_of(path)}spec.payload", len(job.payload.data), limits)
    if job.headers:
        actual = sum(len(utf8_bytes(key)) + len(utf8_bytes(value)) for key, value in job.headers.items())
        if actual > limits.headers_bytes:
            return _too_large(f"{prefix_of(path)}spec.headers", "headers", limits.headers_bytes, actual)
    return None


def payload_too_large(field: str, actual_bytes: int, limits: Limits = DEFAULT_LIMITS) -> PayloadTooLarge:
    """Return the error for a payload or result of `actual_bytes`."""
    return _too_large(field, "content", limits.payload_bytes, actual_bytes)


def _too_large(field: str, what: str, limit: int, actual: int) -> PayloadTooLarge:
    message = (
        f"{field}: the {what} has {actual} bytes; at most {limit} are accepted. "
        "Keep the data elsewhere and pass a reference to it."
    )
    return PayloadTooLarge(message, field=field, limit=limit, actual=actual)


def _is_plain(job: NewJob, limits: Limits) -> bool:
    """Recognise at once a valid job that has none of the rarer fields; False means: walk the table."""
    (job_id, id_chosen, type_, queue, priority, payload, schedule, expire, timeout, policy, labels, headers,
     retention, request_id, _) = job  # fmt: skip
    return (
        0 <= priority <= 9
        and 0 < len(type_) <= limits.type_chars
        and type_.isprintable()
        and (queue == DEFAULT_QUEUE or is_queue(queue) is not None)
        and len(request_id) <= limits.request_id_chars
        and request_id.isprintable()
        and (payload is None or _is_plain_content(payload, limits))
        and (not id_chosen or is_id(job_id) is not None)
        and schedule is None
        and expire is None
        and timeout is None
        and policy is None
        and retention is None
        and not labels
        and not headers
    )


def _is_plain_content(content: Content, limits: Limits) -> bool:
    _, content_type, encoding, _ = content
    return (
        not encoding
        and len(content_type) <= limits.content_type_chars
        and content_type.isascii()
        and content_type.isprintable()
    )


def _new_job_violations(job: NewJob, prefix: str, limits: Limits) -> Iterable[Violation]:
    tables = _spec_tables(limits)
    yield from broken(tables.job, job, prefix)
    if job.payload is not None:
        yield from broken(tables.content, job.payload, f"{prefix}spec.payload.")
    if job.retry_policy is not None:
        yield from broken(tables.retry_policy, job.retry_policy, f"{prefix}spec.retry_policy.")
    if job.labels:
        yield from _label_violations(job.labels, f"{prefix}spec.labels", limits)
    if job.headers:
        yield from _header_violations(job.headers, f"{prefix}spec.headers", limits)


class _SpecTables(NamedTuple):
    job: tuple[Rule[NewJob], ...]
    content: tuple[Rule[Content], ...]
    retry_policy: tuple[Rule[RetryPolicy], ...]


@lru_cache(maxsize=4)
def _spec_tables(limits: Limits) -> _SpecTables:
    return _SpecTables(_new_job_rules(limits), _content_rules(limits), _retry_policy_rules(limits))


def _new_job_rules(limits: Limits) -> tuple[Rule[NewJob], ...]:
    duration_sentence = f"must be more than 0 and at most {limits.duration_us // DAY_US} days"

    def duration_ok(value_us: int | None) -> bool:
        return value_us is None or 0 < value_us <= limits.duration_us

    return (
        Rule("job_id", lambda job: not job.id_chosen or id_ok(job.job_id), ID_SENTENCE),
        Rule("request_id", lambda job: _request_id_ok(job.request_id, limits), _request_id_sentence(limits)),
        Rule("spec.queue", lambda job: queue_ok(job.queue), QUEUE_SENTENCE),
        Rule(
            "spec.type",
            lambda job: line_ok(job.type, limits.type_chars, min_chars=1),
            f"is required: {line_sentence(limits.type_chars)}",
        ),
        Rule("spec.priority", lambda job: 0 <= job.priority <= 9, "must be 0 (last) to 9 (first)"),
        Rule("spec.schedule_time", lambda job: time_ok(job.schedule_time_us), TIME_SENTENCE),
        Rule("spec.expire_time", lambda job: time_ok(job.expire_time_us), TIME_SENTENCE),
        Rule("spec.expire_time", _expires_after_schedule, "must be after schedule_time"),
        Rule("spec.attempt_timeout", lambda job: duration_ok(job.attempt_timeout_us), duration_sentence),
        Rule("spec.retention", lambda job: duration_ok(job.retention_us), duration_sentence),
    )


def _request_id_ok(value: str, limits: Limits) -> bool:
    return len(value) <= limits.request_id_chars and value.isprintable()


def _request_id_sentence(limits: Limits) -> str:
    return f"must be at most {limits.request_id_chars} printable characters; a UUID is a good one"


def _expires_after_schedule(job: NewJob) -> bool:
    if job.expire_time_us is None or job.schedule_time_us is None:
        return True
    return job.expire_time_us > job.schedule_time_us


def _content_rules(limits: Limits) -> tuple[Rule[Content], ...]:
    types, encodings = limits.content_type_chars, limits.content_encoding_chars
    return (
        Rule(
            "content_type",
            lambda content: token_ok(content.content_type, types),
            f"must be at most {types} printable ASCII characters, for example 'application/json'",
        ),
        Rule(
            "content_encoding",
            lambda content: token_ok(content.content_encoding, encodings),
            f"must be at most {encodings} printable ASCII characters, for example 'gzip'",
        ),
    )


def check_content(content: Content, path: str, limits: Limits = DEFAULT_LIMITS) -> list[Violation]:
    """Check media type and encoding of a result or a checkpoint; its size is `payload_too_large`'s affair."""
    if _is_plain_content(content, limits):
        return []
    return collect(broken(_content_rules(limits), content, prefix_of(path)))


def _retry_policy_rules(limits: Limits) -> tuple[Rule[RetryPolicy], ...]:
    types, type_chars = limits.non_retryable_error_types, limits.error_type_chars
    backoff_sentence = f"must be 0 to {limits.duration_us // DAY_US} days"
    return (
        Rule(
            "max_attempts",
            lambda policy: 0 <= policy.max_attempts <= limits.max_attempts,
            f"must be 1 to {limits.max_attempts}, or 0 for the default",
        ),
        Rule(
            "initial_backoff",
            lambda policy: 0 <= policy.initial_backoff_us <= limits.duration_us,
            backoff_sentence,
        ),
        Rule(
            "backoff_multiplier",
            # A NaN compares false, and an infinity is not below the bound.
            lambda policy: 1.0 <= policy.backoff_multiplier < float("inf"),
            "must be a finite number of at least 1",
        ),
        Rule("max_backoff", lambda policy: 0 <= policy.max_backoff_us <= limits.duration_us, backoff_sentence),
        Rule("jitter", lambda policy: 0.0 <= policy.jitter <= 1.0, "must be 0 to 1"),
        Rule(
            "non_retryable_error_types",
            lambda policy: len(policy.non_retryable_error_types) <= types,
            f"must hold at most {types} values",
        ),
        Rule(
            "non_retryable_error_types",
            lambda policy: all(line_ok(name, type_chars, 1) for name in policy.non_retryable_error_types[:types]),
            f"each value {line_sentence(type_chars)}",
        ),
    )


def _label_violations(labels: Mapping[str, str], field: str, limits: Limits) -> Iterable[Violation]:
    if len(labels) > limits.labels:
        yield Violation(field, f"must hold at most {limits.labels} pairs")
        return
    keys, values = limits.label_key_chars, limits.label_value_chars
    for key, value in labels.items():
        if not line_ok(key, keys, min_chars=1):
            yield Violation(entry_path(field, key), f"its key {line_sentence(keys)}")
        if not text_ok(value, values):
            yield Violation(entry_path(field, key), f"must be at most {values} characters, and {TEXT_SENTENCE}")


def _header_violations(headers: Mapping[str, str], field: str, limits: Limits) -> Iterable[Violation]:
    if len(headers) > limits.headers:
        yield Violation(field, f"must hold at most {limits.headers} pairs")
        return
    for key, value in headers.items():
        if not line_ok(key, limits.headers_bytes, min_chars=1):
            yield Violation(entry_path(field, key), "its key must not be empty or contain control characters")
        if not text_ok(value, limits.headers_bytes):
            yield Violation(entry_path(field, key), TEXT_SENTENCE)


# --- the other requests -------------------------------------------------------------------------------------


class BatchFields(NamedTuple):
    """What a BatchSubmitJobsRequest says beside its elements."""

    size: int
    request_id: str
    batch_id: str
    independent: bool
    element_request_ids: bool
    """True when any element has a request_id of its own."""


@lru_cache(maxsize=4)
def _batch_rules(limits: Limits) -> tuple[Rule[BatchFields], ...]:
    return (
        Rule("requests", lambda batch: batch.size > 0, f"is required: 1 to {limits.batch_size} jobs"),
        Rule(
            "request_id",
            lambda batch: _request_id_ok(batch.request_id, limits),
            _request_id_sentence(limits),
        ),
        Rule("batch_id", lambda batch: not batch.batch_id or id_ok(batch.batch_id), ID_SENTENCE),
        Rule(
            "request_id",
            lambda batch: not (batch.independent and batch.request_id),
            "must be empty when independent: each request has its own",
        ),
        Rule(
            "batch_id",
            lambda batch: not (batch.independent and batch.batch_id),
            "must be empty when independent: the jobs do not form a batch",
        ),
        Rule(
            "requests.request_id",
            lambda batch: batch.independent or not batch.element_request_ids,
            "must be empty inside a batch: set the request_id of the batch, or independent",
        ),
    )


def check_batch(batch: BatchFields, limits: Limits = DEFAULT_LIMITS) -> list[Violation]:
    """Check what a batch says beside its elements; raise `BatchTooLarge` when it has too many."""
    check_batch_size("requests", batch.size, limits)
    return collect(broken(_batch_rules(limits), batch, ""))


def check_batch_size(field: str, size: int, limits: Limits = DEFAULT_LIMITS) -> None:
    """Raise `BatchTooLarge` when a call has more than `limits.batch_size` elements."""
    if size > limits.batch_size:
        message = f"{field}: {size} elements; one call takes at most {limits.batch_size}. Split the batch."
        raise BatchTooLarge(message, field=field, limit=limits.batch_size, actual=size)


def check_job_id(job_id: str, path: str = "job_id") -> list[Violation]:
    """Check the id of an existing job."""
    return [] if id_ok(job_id) else [Violation(path, f"is required: {ID_SENTENCE}")]


def check_job_ids(job_ids: Sequence[str], path: str = "job_ids", *, required: bool = True) -> list[Violation]:
    """Check a list of ids, each with its own path; `required` refuses an empty one."""
    if not job_ids:
        return [Violation(path, "is required: at least one job id")] if required else []
    return collect(
        Violation(f"{path}[{index}]", ID_SENTENCE) for index, job_id in enumerate(job_ids) if not id_ok(job_id)
    )


class ReadFields(NamedTuple):
    """A GetJobRequest; WatchJob's `after_revision` is checked by `check_revision`."""

    job_id: str
    wait_revision: int | None = None
    wait_timeout_us: int | None = None


_READ_RULES: Final[tuple[Rule[ReadFields], ...]] = (
    Rule("job_id", lambda read: id_ok(read.job_id), f"is required: {ID_SENTENCE}"),
    Rule("wait_revision", lambda read: (read.wait_revision or 0) >= 0, "must not be negative"),
    Rule("wait_timeout", lambda read: (read.wait_timeout_us or 0) >= 0, "must not be negative"),
    Rule(
        "wait_timeout",
        lambda read: read.wait_timeout_us is None or read.wait_revision is not None,
        "only has a meaning together with wait_revision",
    ),
)


def check_read(read: ReadFields) -> list[Violation]:
    """Check a GetJobRequest. A `wait_timeout` over `Limits.wait_us` is no violation: the wait is shorter."""
    return collect(broken(_READ_RULES, read, ""))


def check_revision(revision: int | None, path: str) -> list[Violation]:
    """Check a revision that a caller says it has seen."""
    return [] if revision is None or revision >= 0 else [Violation(path, "must not be negative")]


def check_cancel(job_id: str, reason: str, limits: Limits = DEFAULT_LIMITS) -> list[Violation]:
    """Check a CancelJobRequest."""
    violations = check_job_id(job_id)
    if not text_ok(reason, limits.reason_chars):
        violations.append(Violation("reason", f"must be at most {limits.reason_chars} characters, and {TEXT_SENTENCE}"))
    return violations


def check_retry(
    job_id: str, additional_attempts: int, schedule_time_us: int | None, limits: Limits = DEFAULT_LIMITS
) -> list[Violation]:
    """Check a RetryJobRequest."""
    violations = check_job_id(job_id)
    if not 0 <= additional_attempts <= limits.max_attempts:
        sentence = f"must be 1 to {limits.max_attempts}, or 0 for as many as the policy says"
        violations.append(Violation("additional_attempts", sentence))
    if not time_ok(schedule_time_us):
        violations.append(Violation("schedule_time", TIME_SENTENCE))
    return violations


def check_page_size(page_size: int, path: str = "page_size") -> list[Violation]:
    """Check a page size as it came: 0 = the default, more than the limit is coerced by the caller."""
    return [] if page_size >= 0 else [Violation(path, "must not be negative; 0 means the default")]


@lru_cache(maxsize=4)
def _filter_rules(limits: Limits) -> tuple[Rule[FilterFields], ...]:
    count = limits.filter_items
    many = f"must hold at most {count} values"
    types = limits.type_chars
    return (
        Rule("queues", lambda wanted: len(wanted.queues) <= count, many),
        Rule("queues", lambda wanted: all(map(queue_ok, wanted.queues[:count])), f"each value {QUEUE_SENTENCE}"),
        Rule("types", lambda wanted: len(wanted.types) <= count, many),
        Rule(
            "types",
            lambda wanted: all(line_ok(name, types, min_chars=1) for name in wanted.types[:count]),
            f"each value {line_sentence(types)}",
        ),
        Rule("states", lambda wanted: len(wanted.states) <= count, many),
        Rule(
            "states",
            lambda wanted: not unknown_states(wanted.states[:count]),
            "each value must be a known state",
        ),
        Rule("batch_id", lambda wanted: not wanted.batch_id or id_ok(wanted.batch_id), ID_SENTENCE),
        Rule("create_time_min", lambda wanted: time_ok(wanted.create_time_min_us), TIME_SENTENCE),
        Rule("create_time_max", lambda wanted: time_ok(wanted.create_time_max_us), TIME_SENTENCE),
    )


def check_filter(wanted: FilterFields, path: str = "filter", limits: Limits = DEFAULT_LIMITS) -> list[Violation]:
    """Check the conditions of a list or a watch."""
    return collect(_filter_violations(wanted, prefix_of(path), limits))


def _filter_violations(wanted: FilterFields, prefix: str, limits: Limits) -> Iterable[Violation]:
    yield from broken(_filter_rules(limits), wanted, prefix)
    if wanted.labels:
        yield from _label_violations(wanted.labels, f"{prefix}labels", limits)


def unknown_states(numbers: Iterable[int]) -> list[int]:
    """Return the numbers that are no `State`, so that they can be refused before one is made of them."""
    known = frozenset(State)
    return [number for number in numbers if number not in known]
