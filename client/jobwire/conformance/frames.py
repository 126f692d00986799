"""What passes between a program and the server, read the same way whichever path it takes: stream or unary calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from jobwire.v1 import admin_service_pb2, job_service_pb2
from jobwire.v1 import worker_service_pb2 as worker


class Sender(StrEnum):
    """Whose frame it is."""

    PROGRAM = "program"
    SERVER = "server"


class Fate(Enum):
    """What the proxy does with a frame."""

    FORWARD = "passed on"
    SWALLOW = "swallowed"
    TWICE = "passed on twice"
    CUT = "swallowed, and the call cut"
    FORWARD_AND_CUT = "passed on, and the call cut"
    """For frames of the server only: what was sent to a server whose call is cut may never arrive."""
    FREEZE = "swallowed, as is everything else in this call from now on"


class Method(NamedTuple):
    """An RPC of the contract."""

    request: type[Message]
    response: type[Message]


def _methods() -> Iterator[tuple[str, Method]]:
    for module in (admin_service_pb2, job_service_pb2, worker):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                types = Method(GetMessageClass(method.input_type), GetMessageClass(method.output_type))
                yield f"/{service.full_name}/{method.name}", types


METHODS: Final[Mapping[str, Method]] = MappingProxyType(dict(_methods()))
"""By path on the wire. Calls of other methods pass the proxy unread."""


class Call:
    """One call of the program, a stream or not."""

    def __init__(self, number: int, path: str) -> None:
        self.number = number
        self.path = path
        self.is_half_closed = False
        """The program has said that it will send no more."""
        self.end: str | None = None
        """How the program saw it end: a gRPC status, or "gone" when it went away itself; None = not yet."""
        self.asked: Message | None = None
        """The last request: what a unary answer answers."""
        self.answer: worker.OutcomeCode | None = None
        """What a unary answer says of an outcome, should the call end with OK."""

    @property
    def name(self) -> str:
        """Name of the RPC."""
        return self.path.rpartition("/")[2]


class Frame:
    """One message on its way."""

    def __init__(self, call: Call, sender: Sender, message: Message, seconds: float) -> None:
        self.call = call
        self.sender = sender
        self.message = message
        self.seconds = seconds
        """When it came, by the tool's clock."""
        self.is_edited = False
        self.fate: Fate | None = None
        """None while it is held back."""

    def edit(self) -> Message:
        """The message, to be changed before it is passed on."""
        self.is_edited = True
        return self.message

    @property
    def is_delivered(self) -> bool:
        """True when the other side has got it."""
        return self.fate in {Fate.FORWARD, Fate.TWICE, Fate.FORWARD_AND_CUT}

    @property
    def hello(self) -> worker.WorkerHello | None:
        """The introduction of a stream."""
        message = self.message
        return message.hello if isinstance(message, worker.WorkRequest) and message.HasField("hello") else None

    @property
    def pull(self) -> worker.PullJobsRequest | None:
        """A request for jobs on the unary path."""
        return self.message if isinstance(self.message, worker.PullJobsRequest) else None

    @property
    def outcomes(self) -> Sequence[worker.Outcome]:
        """How attempts ended, as the program reports it."""
        return outcomes_in(self.message)

    @property
    def updates(self) -> Sequence[worker.LeaseUpdate]:
        """Leases that the program extends."""
        message = self.message
        return message.lease_updates if isinstance(message, worker.WorkRequest | worker.HeartbeatRequest) else ()

    @property
    def assignments(self) -> Sequence[worker.Assignment]:
        """Work for the program."""
        message = self.message
        return message.assignments if isinstance(message, worker.WorkResponse | worker.PullJobsResponse) else ()

    @property
    def acks(self) -> Sequence[worker.OutcomeAck]:
        """Answers to outcomes."""
        return acks_in(self.message, self.call.asked)

    @property
    def states(self) -> Sequence[worker.LeaseState]:
        """What the server says of leases, those of a welcome included."""
        match self.message:
            case worker.WorkResponse() as frame:
                return [*frame.welcome.leases, *frame.lease_states]
            case worker.HeartbeatResponse() as answer:
                return answer.lease_states
            case _:
                return ()


def outcomes_in(message: Message) -> Sequence[worker.Outcome]:
    """Read the outcomes of a request of either path."""
    match message:
        case worker.WorkRequest() | worker.ReportOutcomesRequest():
            return message.outcomes
        case worker.CompleteJobRequest():
            success = worker.Success(follow_ups=message.follow_ups)
            if message.HasField("result"):
                success.result.CopyFrom(message.result)
            return [worker.Outcome(lease_token=message.lease_token, success=success)]
        case worker.FailJobRequest():
            failure = worker.Failure(error=message.error)
            if message.HasField("retry_delay"):
                failure.retry_delay.CopyFrom(message.retry_delay)
            return [worker.Outcome(lease_token=message.lease_token, failure=failure)]
        case _:
            return ()


def acks_in(message: Message, asked: Message | None) -> Sequence[worker.OutcomeAck]:
    """Read the answers to outcomes of either path; `asked` is the request that a unary answer answers."""
    match message:
        case worker.WorkResponse() | worker.ReportOutcomesResponse():
            return message.outcome_acks
        case worker.CompleteJobResponse() | worker.FailJobResponse():
            assert isinstance(asked, worker.CompleteJobRequest | worker.FailJobRequest)
            code = worker.OUTCOME_CODE_DUPLICATE if message.duplicate else worker.OUTCOME_CODE_RECORDED
            return [worker.OutcomeAck(lease_token=asked.lease_token, code=code)]
        case _:
            return ()
