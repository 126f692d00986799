"""Workers that break one rule each. The tool must catch every one of them, by the point that is about that rule.

python -m tests.conformance.plants NAME
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from jobwire.v1 import worker_service_pb2 as pb
from tests.conformance import verbs
from tests.conformance.reference_worker import Run, Stream, Worker

# --- what it asks for and reports


class AsksForTooMuch(Worker):
    def hello(self) -> pb.WorkerHello:
        hello = super().hello()
        hello.max_in_flight *= 2
        return hello


class TakesAnyType(Worker):
    def hello(self) -> pb.WorkerHello:
        hello = super().hello()
        del hello.types[:]
        return hello


class TakesAnyQueue(Worker):
    def hello(self) -> pb.WorkerHello:
        hello = super().hello()
        hello.queues[0].queue = "*"
        return hello


class ReadsOneArm(Worker):
    async def do(self, run: Run) -> pb.Outcome:
        payload = json.loads(run.assignment.payload.text)
        return await verbs.VERBS[payload["do"]](self, run, payload)


class KnowsAsciiOnly(Worker):
    def report(self, run: Run, outcome: pb.Outcome) -> None:
        text = outcome.success.result.text
        if text:
            outcome.success.result.text = text.encode("ascii", "replace").decode()
        super().report(run, outcome)


class RetriesEverything(Worker):
    def report(self, run: Run, outcome: pb.Outcome) -> None:
        if outcome.HasField("failure"):
            outcome.failure.error.retryable = True
        super().report(run, outcome)


class RetriesNothing(Worker):
    def report(self, run: Run, outcome: pb.Outcome) -> None:
        if outcome.HasField("failure"):
            outcome.failure.error.retryable = False
        super().report(run, outcome)


class ForgetsTheDelay(Worker):
    def report(self, run: Run, outcome: pb.Outcome) -> None:
        if outcome.HasField("failure"):
            outcome.failure.ClearField("retry_delay")
        super().report(run, outcome)


class FailsWhatItGivesBack(Worker):
    def report(self, run: Run, outcome: pb.Outcome) -> None:
        super().report(run, verbs.failure("Released", "") if outcome.HasField("release") else outcome)


class IsSilentAboutProgress(Worker):
    def send(self, *items: pb.Outcome | pb.LeaseUpdate) -> None:
        super().send(*(item for item in items if isinstance(item, pb.Outcome) or item.HasField("checkpoint")))


class SavesNothing(Worker):
    def send(self, *items: pb.Outcome | pb.LeaseUpdate) -> None:
        super().send(*(item for item in items if isinstance(item, pb.Outcome) or not item.HasField("checkpoint")))


class ForgetsFollowUps(Worker):
    def report(self, run: Run, outcome: pb.Outcome) -> None:
        if outcome.HasField("success"):
            del outcome.success.follow_ups[:]
        super().report(run, outcome)


class HasASmallMailbox(Worker):
    options = (*Worker.options, ("grpc.max_receive_message_length", 1 << 19))


class InsistsOnWhatWasRefused(Worker):
    def acked(self, ack: pb.OutcomeAck) -> None:
        run = self.runs.get(ack.lease_token)
        if ack.code == pb.OUTCOME_CODE_INVALID and run is not None and run.outcome is not None:
            self.send(run.outcome)
        else:
            super().acked(ack)


class DiesOfNonsense(Worker):
    async def do(self, run: Run) -> pb.Outcome:
        try:
            return await super().do(run)
        except (ValueError, KeyError, TypeError) as error:
            raise SystemError("what is this?") from error


class LosesEveryFiftieth(Worker):
    reported = 0

    def report(self, run: Run, outcome: pb.Outcome) -> None:
        self.reported += 1
        if self.reported % 50 == 0:
            outcome = verbs.success("something else")
        super().report(run, outcome)


# --- holding a job


class NeverBeats(Worker):
    def beats(self) -> list[pb.LeaseUpdate]:
        return []


class WidensItsWindow(Worker):
    def take(self, assignment: pb.Assignment) -> None:
        super().take(assignment)
        if self.stream is not None:
            self.stream.head.max_in_flight = self.slots + 2


class UsesOneSlot(Worker):
    async def do(self, run: Run) -> pb.Outcome:
        self.turn = getattr(self, "turn", None) or asyncio.Lock()
        async with self.turn:
            return await super().do(run)

    def hello(self) -> pb.WorkerHello:
        hello = super().hello()
        hello.max_in_flight = min(hello.max_in_flight, 1)
        return hello


class IgnoresCancels(Worker):
    def cancel(self, token: bytes) -> None:
        pass


class IgnoresCancelsInHeartbeats(Worker):
    def learn(self, states: Any) -> None:
        for state in states:
            state.cancel_requested = False
        super().learn(states)


class GoesOnWithoutALease(Worker):
    def learn(self, states: Any) -> None:
        super().learn([state for state in states if state.valid])


class DiesOfALateOutcome(Worker):
    def acked(self, ack: pb.OutcomeAck) -> None:
        if ack.code == pb.OUTCOME_CODE_LEASE_LOST:
            raise SystemError("my result!")
        super().acked(ack)


class IsAlwaysTheSame(Worker):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.instance_id = "the one and only"


# --- the way between


class ForgetsWhatWasNotAcked(Worker):
    def report(self, run: Run, outcome: pb.Outcome) -> None:
        super().report(run, outcome)
        self.forget(run)


class SendsNothingAgain(Worker):
    def welcomed(self, stream: Stream) -> None:
        for run in self.runs.values():
            run.outcome = None
        super().welcomed(stream)


class RunsDoublesTwice(Worker):
    def take(self, assignment: pb.Assignment) -> None:
        self.runs.pop(assignment.lease_token, None)
        super().take(assignment)


class TakesRetryForDone(Worker):
    def acked(self, ack: pb.OutcomeAck) -> None:
        ack.code = pb.OUTCOME_CODE_RECORDED
        super().acked(ack)


class IsAnotherEachTime(Worker):
    def hello(self) -> pb.WorkerHello:
        self.instance_id = secrets.token_hex(8)
        return super().hello()


class NamesNoLeases(Worker):
    def hello(self) -> pb.WorkerHello:
        hello = super().hello()
        del hello.held_lease_tokens[:]
        return hello


class NeverEchoes(Worker):
    class stream_class(Stream):  # noqa: N801
        def pong(self, ping_id: int) -> None:
            pass


class FallsSilentWhenIdle(Worker):
    class stream_class(Stream):  # noqa: N801
        def pong(self, ping_id: int) -> None:
            pass

        def send(self, *items: pb.Outcome | pb.LeaseUpdate) -> None:
            if items:
                super().send(*items)


class FearsTheUnknown(Worker):
    def acked(self, ack: pb.OutcomeAck) -> None:
        if ack.state > 9:
            raise SystemError(f"there is no state {ack.state}")
        super().acked(ack)


class StaysWhenAskedToGo(Worker):
    class stream_class(Stream):  # noqa: N801
        def leave(self, notice: pb.DrainNotice) -> None:
            pass


class FightsForItsPlace(Worker):
    class stream_class(Stream):  # noqa: N801
        def leave(self, notice: pb.DrainNotice) -> None:
            super().leave(notice)
            if self.is_replaced:
                self.worker.tasks.create_task(self.worker.stream_class(self.worker).run())


class IsSomebodyElseEachTime(Worker):
    def hello(self) -> pb.WorkerHello:
        hello = super().hello()
        self.worker_id = secrets.token_hex(4)
        return hello


class HammersAtTheDoor(Worker):
    async def pause_before_reconnect(self, stream: Stream) -> None:
        await asyncio.sleep(0)


class WaitsForEver(Worker):
    silence_seconds = 3600.0


# --- beginnings and ends


class GivesUpAtOnce(Worker):
    async def pause_before_reconnect(self, stream: Stream) -> None:
        raise SystemError("no server")


class DropsEverythingAtTheEnd(Worker):
    def begin_drain(self) -> None:
        os._exit(0)


class EndsWithAnError(Worker):
    async def until_drained(self) -> None:
        try:
            await super().until_drained()
        finally:
            if self.is_draining:
                os._exit(1)


class IsDeafToSigterm(Worker):
    def begin_drain(self) -> None:
        pass


class SaysNoGoodbye(Worker):
    def pause(self) -> None:
        pass


class StopsWhatWasAlmostDone(Worker):
    finish_seconds = 0.0


class WaitsForWhatTakesLong(Worker):
    finish_seconds = 3600.0


PLANTS: Mapping[str, Sequence[type[Worker]]] = {
    "introduction": (AsksForTooMuch, TakesAnyType),
    "subscription": (TakesAnyQueue,),
    "echo": (ReadsOneArm, KnowsAsciiOnly),
    "failure": (RetriesNothing,),
    "failure-for-good": (RetriesEverything,),
    "retry-delay": (ForgetsTheDelay,),
    "release": (FailsWhatItGivesBack,),
    "progress": (IsSilentAboutProgress,),
    "checkpoint": (SavesNothing,),
    "follow-up": (ForgetsFollowUps,),
    "big-payload": (HasASmallMailbox,),
    "result-too-big": (InsistsOnWhatWasRefused,),
    "bad-payload": (DiesOfNonsense,),
    "many-jobs": (LosesEveryFiftieth,),
    "heartbeat": (NeverBeats,),
    "window": (WidensItsWindow, UsesOneSlot),
    "cancel": (IgnoresCancels,),
    "cancel-by-heartbeat": (IgnoresCancelsInHeartbeats,),
    "lease-lost": (GoesOnWithoutALease,),
    "late-outcome": (DiesOfALateOutcome,),
    "killed-worker": (IsAlwaysTheSame,),
    "ack-lost": (ForgetsWhatWasNotAcked,),
    "outcome-lost": (SendsNothingAgain,),
    "assignment-lost": (IsSomebodyElseEachTime,),
    "assignment-twice": (RunsDoublesTwice,),
    "told-to-retry": (TakesRetryForDone,),
    "stream-cut": (IsAnotherEachTime, NamesNoLeases),
    "cut-often": (SendsNothingAgain,),
    "ping": (NeverEchoes,),
    "idle-stream": (FallsSilentWhenIdle,),
    "unknown-fields": (FearsTheUnknown,),
    "drain-notice": (StaysWhenAskedToGo, FightsForItsPlace),
    "reconnect-pace": (HammersAtTheDoor,),
    "late-server": (GivesUpAtOnce,),
    "idle-drain": (EndsWithAnError, IsDeafToSigterm, SaysNoGoodbye),
    "finishing-drain": (DropsEverythingAtTheEnd, StopsWhatWasAlmostDone),
    "releasing-drain": (DropsEverythingAtTheEnd, WaitsForWhatTakesLong),
    "drained-server": (GivesUpAtOnce,),
    "killed-server": (GivesUpAtOnce,),
    "frozen-stream": (WaitsForEver,),
}
"""By the point that has to catch them."""

if __name__ == "__main__":
    (planted,) = {each for plants in PLANTS.values() for each in plants if each.__name__ == sys.argv[1]}
    asyncio.run(planted(os.environ).main())
