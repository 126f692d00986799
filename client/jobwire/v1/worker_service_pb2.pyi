import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from jobwire.v1 import job_pb2 as _job_pb2
from jobwire.v1 import job_service_pb2 as _job_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OutcomeCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_CODE_UNSPECIFIED: _ClassVar[OutcomeCode]
    OUTCOME_CODE_RECORDED: _ClassVar[OutcomeCode]
    OUTCOME_CODE_DUPLICATE: _ClassVar[OutcomeCode]
    OUTCOME_CODE_LEASE_LOST: _ClassVar[OutcomeCode]
    OUTCOME_CODE_INVALID: _ClassVar[OutcomeCode]
    OUTCOME_CODE_RETRY: _ClassVar[OutcomeCode]
OUTCOME_CODE_UNSPECIFIED: OutcomeCode
OUTCOME_CODE_RECORDED: OutcomeCode
OUTCOME_CODE_DUPLICATE: OutcomeCode
OUTCOME_CODE_LEASE_LOST: OutcomeCode
OUTCOME_CODE_INVALID: OutcomeCode
OUTCOME_CODE_RETRY: OutcomeCode

class WorkRequest(_message.Message):
    __slots__ = ("hello", "max_in_flight", "outcomes", "lease_updates", "pong_id")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    MAX_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    LEASE_UPDATES_FIELD_NUMBER: _ClassVar[int]
    PONG_ID_FIELD_NUMBER: _ClassVar[int]
    hello: WorkerHello
    max_in_flight: int
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    lease_updates: _containers.RepeatedCompositeFieldContainer[LeaseUpdate]
    pong_id: int
    def __init__(self, hello: _Optional[_Union[WorkerHello, _Mapping]] = ..., max_in_flight: _Optional[int] = ..., outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ..., lease_updates: _Optional[_Iterable[_Union[LeaseUpdate, _Mapping]]] = ..., pong_id: _Optional[int] = ...) -> None: ...

class WorkResponse(_message.Message):
    __slots__ = ("welcome", "assignments", "outcome_acks", "lease_states", "cancel_orders", "ping_id", "drain")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_ACKS_FIELD_NUMBER: _ClassVar[int]
    LEASE_STATES_FIELD_NUMBER: _ClassVar[int]
    CANCEL_ORDERS_FIELD_NUMBER: _ClassVar[int]
    PING_ID_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    welcome: WorkerWelcome
    assignments: _containers.RepeatedCompositeFieldContainer[Assignment]
    outcome_acks: _containers.RepeatedCompositeFieldContainer[OutcomeAck]
    lease_states: _containers.RepeatedCompositeFieldContainer[LeaseState]
    cancel_orders: _containers.RepeatedCompositeFieldContainer[CancelOrder]
    ping_id: int
    drain: DrainNotice
    def __init__(self, welcome: _Optional[_Union[WorkerWelcome, _Mapping]] = ..., assignments: _Optional[_Iterable[_Union[Assignment, _Mapping]]] = ..., outcome_acks: _Optional[_Iterable[_Union[OutcomeAck, _Mapping]]] = ..., lease_states: _Optional[_Iterable[_Union[LeaseState, _Mapping]]] = ..., cancel_orders: _Optional[_Iterable[_Union[CancelOrder, _Mapping]]] = ..., ping_id: _Optional[int] = ..., drain: _Optional[_Union[DrainNotice, _Mapping]] = ...) -> None: ...

class WorkerHello(_message.Message):
    __slots__ = ("worker_id", "instance_id", "queues", "types", "max_in_flight", "max_in_flight_bytes", "lease_duration", "held_lease_tokens", "user_agent", "capabilities")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    MAX_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    MAX_IN_FLIGHT_BYTES_FIELD_NUMBER: _ClassVar[int]
    LEASE_DURATION_FIELD_NUMBER: _ClassVar[int]
    HELD_LEASE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    USER_AGENT_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    instance_id: str
    queues: _containers.RepeatedCompositeFieldContainer[QueueSubscription]
    types: _containers.RepeatedScalarFieldContainer[str]
    max_in_flight: int
    max_in_flight_bytes: int
    lease_duration: _duration_pb2.Duration
    held_lease_tokens: _containers.RepeatedScalarFieldContainer[bytes]
    user_agent: str
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, worker_id: _Optional[str] = ..., instance_id: _Optional[str] = ..., queues: _Optional[_Iterable[_Union[QueueSubscription, _Mapping]]] = ..., types: _Optional[_Iterable[str]] = ..., max_in_flight: _Optional[int] = ..., max_in_flight_bytes: _Optional[int] = ..., lease_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., held_lease_tokens: _Optional[_Iterable[bytes]] = ..., user_agent: _Optional[str] = ..., capabilities: _Optional[_Iterable[str]] = ...) -> None: ...

class QueueSubscription(_message.Message):
    __slots__ = ("queue", "weight", "max_in_flight")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    MAX_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    queue: str
    weight: int
    max_in_flight: int
    def __init__(self, queue: _Optional[str] = ..., weight: _Optional[int] = ..., max_in_flight: _Optional[int] = ...) -> None: ...

class WorkerWelcome(_message.Message):
    __slots__ = ("session_id", "lease_duration", "heartbeat_interval", "leases", "max_frame_bytes", "capabilities")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_DURATION_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    lease_duration: _duration_pb2.Duration
    heartbeat_interval: _duration_pb2.Duration
    leases: _containers.RepeatedCompositeFieldContainer[LeaseState]
    max_frame_bytes: int
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, session_id: _Optional[str] = ..., lease_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., leases: _Optional[_Iterable[_Union[LeaseState, _Mapping]]] = ..., max_frame_bytes: _Optional[int] = ..., capabilities: _Optional[_Iterable[str]] = ...) -> None: ...

class Assignment(_message.Message):
    __slots__ = ("lease_token", "job_id", "type", "queue", "attempt", "max_attempts", "payload", "headers", "labels", "lease_expire_time", "lease_remaining", "attempt_deadline", "checkpoint", "create_time", "fence", "lost_leases")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    LEASE_REMAINING_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_DEADLINE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    LOST_LEASES_FIELD_NUMBER: _ClassVar[int]
    lease_token: bytes
    job_id: str
    type: str
    queue: str
    attempt: int
    max_attempts: int
    payload: _job_pb2.Payload
    headers: _containers.ScalarMap[str, str]
    labels: _containers.ScalarMap[str, str]
    lease_expire_time: _timestamp_pb2.Timestamp
    lease_remaining: _duration_pb2.Duration
    attempt_deadline: _timestamp_pb2.Timestamp
    checkpoint: _job_pb2.Payload
    create_time: _timestamp_pb2.Timestamp
    fence: int
    lost_leases: int
    def __init__(self, lease_token: _Optional[bytes] = ..., job_id: _Optional[str] = ..., type: _Optional[str] = ..., queue: _Optional[str] = ..., attempt: _Optional[int] = ..., max_attempts: _Optional[int] = ..., payload: _Optional[_Union[_job_pb2.Payload, _Mapping]] = ..., headers: _Optional[_Mapping[str, str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., lease_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., lease_remaining: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., attempt_deadline: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., checkpoint: _Optional[_Union[_job_pb2.Payload, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., fence: _Optional[int] = ..., lost_leases: _Optional[int] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("lease_token", "success", "failure", "release", "stopped", "abandoned")
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    STOPPED_FIELD_NUMBER: _ClassVar[int]
    ABANDONED_FIELD_NUMBER: _ClassVar[int]
    lease_token: bytes
    success: Success
    failure: Failure
    release: Release
    stopped: Stopped
    abandoned: Abandoned
    def __init__(self, lease_token: _Optional[bytes] = ..., success: _Optional[_Union[Success, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., release: _Optional[_Union[Release, _Mapping]] = ..., stopped: _Optional[_Union[Stopped, _Mapping]] = ..., abandoned: _Optional[_Union[Abandoned, _Mapping]] = ...) -> None: ...

class Success(_message.Message):
    __slots__ = ("result", "follow_ups")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_UPS_FIELD_NUMBER: _ClassVar[int]
    result: _job_pb2.Payload
    follow_ups: _containers.RepeatedCompositeFieldContainer[_job_service_pb2.SubmitJobRequest]
    def __init__(self, result: _Optional[_Union[_job_pb2.Payload, _Mapping]] = ..., follow_ups: _Optional[_Iterable[_Union[_job_service_pb2.SubmitJobRequest, _Mapping]]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("error", "retry_delay")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RETRY_DELAY_FIELD_NUMBER: _ClassVar[int]
    error: _job_pb2.JobError
    retry_delay: _duration_pb2.Duration
    def __init__(self, error: _Optional[_Union[_job_pb2.JobError, _Mapping]] = ..., retry_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Release(_message.Message):
    __slots__ = ("reason", "delay")
    REASON_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    reason: str
    delay: _duration_pb2.Duration
    def __init__(self, reason: _Optional[str] = ..., delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Stopped(_message.Message):
    __slots__ = ("result", "reason")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    result: _job_pb2.Payload
    reason: str
    def __init__(self, result: _Optional[_Union[_job_pb2.Payload, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class Abandoned(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class OutcomeAck(_message.Message):
    __slots__ = ("lease_token", "code", "state", "message")
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    lease_token: bytes
    code: OutcomeCode
    state: _job_pb2.JobState
    message: str
    def __init__(self, lease_token: _Optional[bytes] = ..., code: _Optional[_Union[OutcomeCode, str]] = ..., state: _Optional[_Union[_job_pb2.JobState, str]] = ..., message: _Optional[str] = ...) -> None: ...

class LeaseUpdate(_message.Message):
    __slots__ = ("lease_token", "progress_percent", "progress_message", "checkpoint")
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_PERCENT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    lease_token: bytes
    progress_percent: float
    progress_message: str
    checkpoint: _job_pb2.Payload
    def __init__(self, lease_token: _Optional[bytes] = ..., progress_percent: _Optional[float] = ..., progress_message: _Optional[str] = ..., checkpoint: _Optional[_Union[_job_pb2.Payload, _Mapping]] = ...) -> None: ...

class LeaseState(_message.Message):
    __slots__ = ("lease_token", "valid", "expire_time", "remaining", "cancel_requested")
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    VALID_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    lease_token: bytes
    valid: bool
    expire_time: _timestamp_pb2.Timestamp
    remaining: _duration_pb2.Duration
    cancel_requested: bool
    def __init__(self, lease_token: _Optional[bytes] = ..., valid: bool = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., remaining: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., cancel_requested: bool = ...) -> None: ...

class CancelOrder(_message.Message):
    __slots__ = ("lease_token", "job_id", "reason", "grace")
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    lease_token: bytes
    job_id: str
    reason: str
    grace: _duration_pb2.Duration
    def __init__(self, lease_token: _Optional[bytes] = ..., job_id: _Optional[str] = ..., reason: _Optional[str] = ..., grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class DrainNotice(_message.Message):
    __slots__ = ("reason", "reconnect_delay", "time_left")
    REASON_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_DELAY_FIELD_NUMBER: _ClassVar[int]
    TIME_LEFT_FIELD_NUMBER: _ClassVar[int]
    reason: str
    reconnect_delay: _duration_pb2.Duration
    time_left: _duration_pb2.Duration
    def __init__(self, reason: _Optional[str] = ..., reconnect_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., time_left: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class PullJobsRequest(_message.Message):
    __slots__ = ("worker_id", "queues", "types", "max_jobs", "wait_timeout", "lease_duration", "request_id")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    MAX_JOBS_FIELD_NUMBER: _ClassVar[int]
    WAIT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    LEASE_DURATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    queues: _containers.RepeatedCompositeFieldContainer[QueueSubscription]
    types: _containers.RepeatedScalarFieldContainer[str]
    max_jobs: int
    wait_timeout: _duration_pb2.Duration
    lease_duration: _duration_pb2.Duration
    request_id: str
    def __init__(self, worker_id: _Optional[str] = ..., queues: _Optional[_Iterable[_Union[QueueSubscription, _Mapping]]] = ..., types: _Optional[_Iterable[str]] = ..., max_jobs: _Optional[int] = ..., wait_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., lease_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class PullJobsResponse(_message.Message):
    __slots__ = ("assignments", "poll_delay", "draining")
    ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    POLL_DELAY_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    assignments: _containers.RepeatedCompositeFieldContainer[Assignment]
    poll_delay: _duration_pb2.Duration
    draining: bool
    def __init__(self, assignments: _Optional[_Iterable[_Union[Assignment, _Mapping]]] = ..., poll_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., draining: bool = ...) -> None: ...

class CompleteJobRequest(_message.Message):
    __slots__ = ("lease_token", "result", "follow_ups")
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_UPS_FIELD_NUMBER: _ClassVar[int]
    lease_token: bytes
    result: _job_pb2.Payload
    follow_ups: _containers.RepeatedCompositeFieldContainer[_job_service_pb2.SubmitJobRequest]
    def __init__(self, lease_token: _Optional[bytes] = ..., result: _Optional[_Union[_job_pb2.Payload, _Mapping]] = ..., follow_ups: _Optional[_Iterable[_Union[_job_service_pb2.SubmitJobRequest, _Mapping]]] = ...) -> None: ...

class CompleteJobResponse(_message.Message):
    __slots__ = ("duplicate",)
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    duplicate: bool
    def __init__(self, duplicate: bool = ...) -> None: ...

class FailJobRequest(_message.Message):
    __slots__ = ("lease_token", "error", "retry_delay")
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RETRY_DELAY_FIELD_NUMBER: _ClassVar[int]
    lease_token: bytes
    error: _job_pb2.JobError
    retry_delay: _duration_pb2.Duration
    def __init__(self, lease_token: _Optional[bytes] = ..., error: _Optional[_Union[_job_pb2.JobError, _Mapping]] = ..., retry_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class FailJobResponse(_message.Message):
    __slots__ = ("duplicate", "state", "next_attempt_time")
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    NEXT_ATTEMPT_TIME_FIELD_NUMBER: _ClassVar[int]
    duplicate: bool
    state: _job_pb2.JobState
    next_attempt_time: _timestamp_pb2.Timestamp
    def __init__(self, duplicate: bool = ..., state: _Optional[_Union[_job_pb2.JobState, str]] = ..., next_attempt_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class HeartbeatRequest(_message.Message):
    __slots__ = ("worker_id", "lease_updates")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_UPDATES_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    lease_updates: _containers.RepeatedCompositeFieldContainer[LeaseUpdate]
    def __init__(self, worker_id: _Optional[str] = ..., lease_updates: _Optional[_Iterable[_Union[LeaseUpdate, _Mapping]]] = ...) -> None: ...

class HeartbeatResponse(_message.Message):
    __slots__ = ("lease_states", "draining")
    LEASE_STATES_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    lease_states: _containers.RepeatedCompositeFieldContainer[LeaseState]
    draining: bool
    def __init__(self, lease_states: _Optional[_Iterable[_Union[LeaseState, _Mapping]]] = ..., draining: bool = ...) -> None: ...

class ReportOutcomesRequest(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ...) -> None: ...

class ReportOutcomesResponse(_message.Message):
    __slots__ = ("outcome_acks",)
    OUTCOME_ACKS_FIELD_NUMBER: _ClassVar[int]
    outcome_acks: _containers.RepeatedCompositeFieldContainer[OutcomeAck]
    def __init__(self, outcome_acks: _Optional[_Iterable[_Union[OutcomeAck, _Mapping]]] = ...) -> None: ...
