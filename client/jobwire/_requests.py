"""Requests of the contract, built from what callers say. No I/O; time and ids come in as arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import TracebackType
from typing import Any, NamedTuple, TypedDict

from jobwire import _convert
from jobwire.codecs import encode
from jobwire.durations import Duration, aware, parse_duration
from jobwire.errors import (
    CATALOGUE,
    ArgumentInvalid,
    BatchTooLarge,
    ErrorDetails,
    JobwireError,
    PayloadTooLarge,
    Violation,
)
from jobwire.models import JobFilter, JobState, RetryPolicy
from jobwire.payload import MAX_PAYLOAD_BYTES
from jobwire.v1 import job_pb2, job_service_pb2

MAX_REQUEST_BYTES = 4 * 2**20
"""Biggest request that a server takes unless told otherwise; gRPC in any language refuses more by default."""
MAX_BATCH_BYTES = MAX_REQUEST_BYTES - 64 * 2**10
"""A batch stays below this, so that its frame always fits."""
MAX_BATCH_SIZE = 1000
MAX_FOLLOW_UP_BYTES = MAX_BATCH_BYTES - MAX_PAYLOAD_BYTES
"""Follow-ups of one attempt stay below this together, so that a result fits beside them."""
ELEMENT_OVERHEAD_BYTES = 8
"""Tag and length of one element of a repeated field, at most."""


class CommonOptions(TypedDict, total=False):
    """What a submitter may say about many jobs at once. None, or leaving one out, means the server's default."""

    queue: str | None
    delay: Duration | None
    """Not before so long from now. Exclusive with `at`."""
    at: datetime | None
    """Not before this time (aware)."""
    priority: int | None
    """0 (last) to 9 (first)."""
    labels: Mapping[str, str] | None
    """Indexed: jobs can be listed and watched by them."""
    headers: Mapping[str, str] | None
    """Carried to the worker."""
    timeout: Duration | None
    """Longest run of one attempt."""
    max_attempts: int | None
    """Attempts in all; 1 = never retry. Wins over `retry.max_attempts`."""
    retry: RetryPolicy | None
    expires: Duration | datetime | None
    """When, or how long from now, an unfinished job becomes EXPIRED."""
    retention: Duration | None
    """How long the ended job is kept."""


class SubmitOptions(CommonOptions, total=False):
    """What a submitter may say about one job."""

    key: str | None
    """Idempotency key (`request_id`). The same key with the same content returns the first job; with other content it
    is refused. `delay` and a relative `expires` count from now and so make other content: use `at` with a key."""
    job_id: str | None
    """The caller's own id for the job, never reused."""


class CallOptions(SubmitOptions, total=False):
    """What `options()` of a typed job takes."""

    deadline: Duration | None
    """Of the call that submits."""
    wait: Duration | None
    """How long `run` and `map` wait for a result, each time; None = as long as it takes."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One job of `submit_many` with options of its own, which win over the common ones."""

    type: str
    payload: Any = None
    options: SubmitOptions = field(default_factory=SubmitOptions)


class Moment(NamedTuple):
    """What building a request takes from the world."""

    now: datetime
    new_id: Callable[[], str]


class refusing_wrong_types:  # noqa: N801 - used as a word: `with refusing_wrong_types():`
    """Turns protobuf's complaints about a wrong type or range into one about the argument."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, TypeError | ValueError | OverflowError | KeyError | AttributeError) and not isinstance(
            error, JobwireError
        ):
            raise ArgumentInvalid(f"An argument has the wrong type or range: {error}.") from error


def submit_request(
    job_type: str, payload: object, options: SubmitOptions, moment: Moment
) -> job_service_pb2.SubmitJobRequest:
    """Build the request for one job; it carries a request_id in any case. Raises ArgumentInvalid, PayloadTooLarge."""
    request = _element(job_type, payload, options, moment)
    request.request_id = options.get("key") or moment.new_id()
    _check_size(request.ByteSize())
    return request


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_REQUEST_BYTES:
        facts = {"limit": str(MAX_REQUEST_BYTES), "actual": str(size_bytes)}
        raise PayloadTooLarge(
            f"The request is {size_bytes} bytes; a server takes at most {MAX_REQUEST_BYTES}.", ErrorDetails(facts=facts)
        )


def follow_up_request(
    job_type: str, payload: object, options: SubmitOptions, moment: Moment
) -> job_service_pb2.SubmitJobRequest:
    """Build the request for a job that the success of another one creates. Raises ArgumentInvalid.

    It carries a request_id only when the caller gave a key: an outcome is recorded once, whatever is repeated.
    """
    request = _element(job_type, payload, options, moment)
    request.request_id = options.get("key") or ""
    return request


_KNOWN_OPTIONS = SubmitOptions.__optional_keys__


def _element(
    job_type: str, payload: object, options: SubmitOptions, moment: Moment
) -> job_service_pb2.SubmitJobRequest:
    if not options.keys() <= _KNOWN_OPTIONS:
        unknown, known = sorted(options.keys() - _KNOWN_OPTIONS), ", ".join(sorted(_KNOWN_OPTIONS))
        raise ArgumentInvalid(f"submit() has no option {unknown[0]!r}. Options: {known}.")
    encoded = encode(payload)
    request = job_service_pb2.SubmitJobRequest()
    spec = request.spec
    with refusing_wrong_types():
        spec.type = job_type
        if encoded is not None:
            _convert.put_payload(spec.payload, encoded)
        if options:  # only what is given costs anything
            request.job_id = options.get("job_id") or ""
            _put_times(spec, options, moment.now)
            _put_rest(spec, options)
    return request


def _put_times(spec: job_pb2.JobSpec, options: SubmitOptions, now: datetime) -> None:
    starts, ends = _start_time(options, now), _expire_time(options.get("expires"), now)
    if starts is not None:
        spec.schedule_time.CopyFrom(_convert.timestamp(starts))
    if ends is not None:
        spec.expire_time.CopyFrom(_convert.timestamp(ends))
    timeout, retention = options.get("timeout"), options.get("retention")
    if timeout is not None:
        spec.attempt_timeout.CopyFrom(_convert.duration(parse_duration(timeout, name="timeout")))
    if retention is not None:
        spec.retention.CopyFrom(_convert.duration(parse_duration(retention, name="retention")))


def _put_rest(spec: job_pb2.JobSpec, options: SubmitOptions) -> None:
    if queue := options.get("queue"):
        spec.queue = queue
    priority, policy = options.get("priority"), _policy(options)
    if priority is not None:
        spec.priority = priority
    if policy is not None:
        spec.retry_policy.CopyFrom(policy)
    if labels := options.get("labels"):
        spec.labels.update(labels)
    if headers := options.get("headers"):
        spec.headers.update(headers)


def _start_time(options: SubmitOptions, now: datetime) -> datetime | None:
    delay, at = options.get("delay"), options.get("at")
    if at is not None:
        if delay is not None:
            raise ArgumentInvalid("Give either delay or at, not both.")
        return aware(at, name="at")
    return None if delay is None else now + parse_duration(delay, name="delay")


def _expire_time(expires: Duration | datetime | None, now: datetime) -> datetime | None:
    if expires is None or isinstance(expires, datetime):
        return None if expires is None else aware(expires, name="expires")
    return now + parse_duration(expires, name="expires")


def _policy(options: SubmitOptions) -> job_pb2.RetryPolicy | None:
    policy, max_attempts = options.get("retry"), options.get("max_attempts")
    if max_attempts is not None:
        policy = replace(policy or RetryPolicy(), max_attempts=max_attempts)
    if policy is None:
        return None
    if policy.max_attempts is not None and policy.max_attempts < 1:
        raise ArgumentInvalid(f"max_attempts must be 1 or more, not {policy.max_attempts}.")
    return _convert.policy_message(policy)


# --- batches --------------------------------------------------------------------------------------------------------


class Submitted(NamedTuple):
    """What the server says to a submit."""

    job_id: str
    created: bool
    state: JobState


class BatchAnswer(NamedTuple):
    """What became of one element."""

    job_id: str
    created: bool
    state: JobState
    error: JobwireError | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Elements of one independent BatchSubmitJobs, in the caller's order; those refused here already are errors."""

    elements: tuple[job_service_pb2.SubmitJobRequest | JobwireError, ...]

    @property
    def sent_count(self) -> int:
        """Number of elements that can be sent."""
        return sum(not isinstance(each, JobwireError) for each in self.elements)

    @property
    def request(self) -> job_service_pb2.BatchSubmitJobsRequest | None:
        """The request for what can be sent, or None when nothing can."""
        requests = [each for each in self.elements if not isinstance(each, JobwireError)]
        return job_service_pb2.BatchSubmitJobsRequest(requests=requests, independent=True) if requests else None

    def answers(self, results: Sequence[job_service_pb2.SubmitResult] | JobwireError) -> Iterator[BatchAnswer]:
        """Pair each element with its result, or all that were sent with the error of the call."""
        sent = iter(results) if not isinstance(results, JobwireError) else None
        for element in self.elements:
            if isinstance(element, JobwireError):
                yield refused(element)
            elif sent is None:
                assert isinstance(results, JobwireError)
                yield refused(results)
            else:
                yield batch_answer(next(sent))


def refused(error: JobwireError) -> BatchAnswer:
    """Make the answer for an element that became no job, as far as we know."""
    return BatchAnswer("", False, JobState.UNKNOWN, error)


def batch_answer(result: job_service_pb2.SubmitResult) -> BatchAnswer:
    """Read the server's answer for one element."""
    error = _element_error(result.error) if result.HasField("error") else None
    return BatchAnswer(result.job_id, result.created, _convert.state_of(result.state), error)


def _element_error(error: job_service_pb2.SubmitError) -> JobwireError:
    violations = (Violation(error.field, error.message),) if error.field else ()
    kind = CATALOGUE.get(error.reason, JobwireError)
    return kind(error.message, ErrorDetails(code=error.reason, violations=violations))


def batches(
    items: Iterable[tuple[str, Any] | Submission], common: CommonOptions, moment: Callable[[], Moment]
) -> Iterator[Batch]:
    """Cut items into batches of at most MAX_BATCH_SIZE and MAX_BATCH_BYTES, reading no further ahead than one."""
    elements: list[job_service_pb2.SubmitJobRequest | JobwireError] = []
    size_bytes = 0
    for item in items:
        element, element_bytes = _sized_element(item, common, moment())
        if elements and (len(elements) == MAX_BATCH_SIZE or size_bytes + element_bytes > MAX_BATCH_BYTES):
            yield Batch(tuple(elements))
            elements, size_bytes = [], 0
        elements.append(element)
        size_bytes += element_bytes
    if elements:
        yield Batch(tuple(elements))


def _sized_element(
    item: tuple[str, Any] | Submission, common: CommonOptions, moment: Moment
) -> tuple[job_service_pb2.SubmitJobRequest | JobwireError, int]:
    try:
        submission = _submission(item)
        request = submit_request(submission.type, submission.payload, _merged(common, submission.options), moment)
    except JobwireError as error:
        return error, 0
    return request, request.ByteSize() + ELEMENT_OVERHEAD_BYTES


def _submission(item: tuple[str, Any] | Submission) -> Submission:
    if isinstance(item, Submission):
        return item
    if len(item) == 2:
        return Submission(*item)
    raise ArgumentInvalid(f"An item must be (type, payload) or a Submission, not {item!r:.80}.")


def _merged(common: CommonOptions, own: SubmitOptions) -> SubmitOptions:
    merged: SubmitOptions = {**common, **own}
    # Whoever names one of these two means it instead of the common other one.
    if own.get("at") is not None and own.get("delay") is None:
        merged["delay"] = None
    if own.get("delay") is not None and own.get("at") is None:
        merged["at"] = None
    return merged


def atomic_request(
    items: Iterable[tuple[str, Any] | Submission],
    common: CommonOptions,
    moment: Moment,
    *,
    key: str | None,
    batch_id: str | None,
) -> job_service_pb2.BatchSubmitJobsRequest:
    """Build the all-or-nothing request. Raises BatchTooLarge or PayloadTooLarge when it needs more than one call."""
    request = job_service_pb2.BatchSubmitJobsRequest(request_id=key or moment.new_id(), batch_id=batch_id or "")
    size_bytes = 0
    for item in items:
        if len(request.requests) == MAX_BATCH_SIZE:
            facts = {"limit": str(MAX_BATCH_SIZE)}
            raise BatchTooLarge(f"An atomic batch holds at most {MAX_BATCH_SIZE} jobs.", ErrorDetails(facts=facts))
        submission = _submission(item)
        if submission.options.get("key"):
            raise ArgumentInvalid("Jobs of an atomic batch share the key of the batch; none may have its own.")
        options = _merged(common, submission.options)
        element = _element(submission.type, submission.payload, options, moment)
        size_bytes += element.ByteSize() + ELEMENT_OVERHEAD_BYTES
        _check_size(size_bytes)  # before the batch grows without a bound
        request.requests.append(element)
    return request


# --- the other calls ------------------------------------------------------------------------------------------------


def view(full: bool) -> job_pb2.JobView:
    """Name the view."""
    return job_pb2.JOB_VIEW_FULL if full else job_pb2.JOB_VIEW_BASIC


def filter_of(conditions: JobFilter | job_pb2.JobFilter | None) -> job_pb2.JobFilter | None:
    """Build the filter message, unless it is one."""
    if conditions is None or isinstance(conditions, job_pb2.JobFilter):
        return conditions
    with refusing_wrong_types():
        return _convert.filter_message(conditions)


def retry_request(
    job_id: str, additional_attempts: int, delay: Duration | None, at: datetime | None, now: datetime
) -> job_service_pb2.RetryJobRequest:
    """Build RetryJob."""
    starts = _start_time({"delay": delay, "at": at}, now)
    with refusing_wrong_types():
        return job_service_pb2.RetryJobRequest(
            job_id=job_id,
            additional_attempts=additional_attempts,
            schedule_time=_convert.timestamp(starts) if starts is not None else None,
        )


def check_batch_options(atomic: bool, key: str | None, batch_id: str | None) -> None:
    """Refuse options that only an atomic batch has."""
    if not atomic and (key is not None or batch_id is not None):
        raise ArgumentInvalid("key and batch_id need atomic=True; without it give each Submission its own key.")
