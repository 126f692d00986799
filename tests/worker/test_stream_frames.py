"""What the frames of a Work stream carry, how they are cut, and how answers find those who wait for them."""

from __future__ import annotations

import asyncio

import pytest

from jobwire.payload import Payload
from jobwire.v1 import job_pb2, job_service_pb2
from jobwire.v1 import worker_service_pb2 as pb
from jobwire.worker.transport import (
    AckCode,
    Assignment,
    CancelOrder,
    Failure,
    LeaseState,
    LeaseUpdate,
    Outcome,
    OutcomeReport,
    Release,
    Stopped,
    Success,
)
from tests.helpers.scripted_worker_service import HEARTBEAT_SECONDS, ScriptedStream
from tests.worker.stream_support import Line, assignment, line, success
from tests.worker.support import settled

pytestmark = pytest.mark.asyncio

MEBIBYTE = 1 << 20


async def test_an_assignment_arrives_with_everything_and_times_count_by_the_servers_clock() -> None:
    message = pb.Assignment(
        lease_token=b"t", job_id="j", type="it", queue="mail", attempt=2, max_attempts=5, fence=99,
        payload=job_pb2.Payload(text='"Zoë"', content_type="application/json"),
        headers={"traceparent": "00-1"}, labels={"team": "blue"}, lost_leases=1,
        checkpoint=job_pb2.Payload(data=b"\x00", content_encoding="gzip"),
    )  # fmt: skip
    # The server's clock is years ahead of ours.
    message.lease_expire_time.seconds, message.lease_expire_time.nanos = 4_000_000_030, 500_000_000
    message.lease_remaining.seconds, message.lease_remaining.nanos = 30, 250_000_000
    message.attempt_deadline.seconds = 4_000_000_100
    message.create_time.seconds, message.create_time.nanos = 3_999_999_999, 500_000_000
    async with line() as it:
        stream = await it.opened()
        await stream.send(assignments=[message, assignment(b"bare")])
        await it.inbox.note("assign")
        full, bare = it.inbox.assignments
        assert full == Assignment(
            token=b"t", job_id="j", queue="mail", type="it", attempt=2, max_attempts=5, fence=99,
            payload=Payload('"Zoë"'.encode(), "application/json", "", is_text=True),
            headers={"traceparent": "00-1"}, lease_seconds=30.25, timeout_seconds=99.75, labels={"team": "blue"},
            checkpoint=Payload(b"\x00", "", "gzip"), lost_leases=1, create_time_seconds=3_999_999_999.5,
        )  # fmt: skip
        assert (bare.payload, bare.checkpoint, bare.timeout_seconds) == (None, None, None)
        assert (bare.headers, bare.labels, bare.lost_leases) == ({}, {}, 0)


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (Success(), pb.Outcome(success=pb.Success())),
        (
            Success(
                Payload(b"{}", "application/json", is_text=True),
                (job_service_pb2.SubmitJobRequest(request_id="f"),),
            ),
            pb.Outcome(
                success=pb.Success(
                    result=job_pb2.Payload(text="{}", content_type="application/json"),
                    follow_ups=[job_service_pb2.SubmitJobRequest(request_id="f")],
                )
            ),
        ),
        (
            Success(Payload(b"\xff", is_text=True)),  # no text after all
            pb.Outcome(success=pb.Success(result=job_pb2.Payload(data=b"\xff"))),
        ),
        (
            Failure("E", "m", "d", retryable=True),
            pb.Outcome(failure=pb.Failure(error=job_pb2.JobError(type="E", message="m", detail="d", retryable=True))),
        ),
        (Release(reason="not now"), pb.Outcome(release=pb.Release(reason="not now"))),
        (
            Stopped("asked", Payload(b"half", "text/plain")),
            pb.Outcome(
                stopped=pb.Stopped(reason="asked", result=job_pb2.Payload(data=b"half", content_type="text/plain"))
            ),
        ),
    ],
)
async def test_an_outcome_says_on_the_wire_what_the_handler_said(outcome: Outcome, message: pb.Outcome) -> None:
    async with line() as it:
        stream = await it.opened()
        report = asyncio.create_task(it.transport.report([OutcomeReport(b"t", outcome)]))
        await stream.until(lambda: len(stream.outcomes) == 1)
        message.lease_token = b"t"
        assert stream.outcomes[0] == message
        await stream.ack(*stream.outcomes)
        await report


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(1.5, (1, 500_000_000)), (0.0, (0, 0)), (float("inf"), (315_000_000_000, 0)), (float("nan"), (0, 0))],
)
async def test_a_wished_delay_is_always_one_that_the_wire_can_say(seconds: float, told: tuple[int, int]) -> None:
    async with line() as it:
        stream = await it.opened()
        failure = Failure("E", retry_delay_seconds=seconds)
        report = asyncio.create_task(it.transport.report([OutcomeReport(b"t", failure)]))
        await stream.until(lambda: len(stream.outcomes) == 1)
        delay = stream.outcomes[0].failure.retry_delay
        assert (delay.seconds, delay.nanos) == told
        await stream.ack(*stream.outcomes)
        await report


async def test_acks_come_back_in_the_order_of_the_reports_whatever_the_server_does_first() -> None:
    async with line() as it:
        stream = await it.opened()
        report = asyncio.create_task(it.transport.report(success(b"a", b"b", b"c")))
        await stream.until(lambda: len(stream.outcomes) == 3)
        a, _, c = stream.outcomes
        await stream.ack(c, code=pb.OUTCOME_CODE_LEASE_LOST)
        await stream.send(outcome_acks=[pb.OutcomeAck(lease_token=b"strange", code=pb.OUTCOME_CODE_RECORDED)])
        await stream.send(
            outcome_acks=[pb.OutcomeAck(lease_token=b"b", code=pb.OUTCOME_CODE_INVALID, message="too big")]
        )
        await settled()
        assert not report.done()
        await stream.ack(a)
        assert await report == [
            (b"a", AckCode.RECORDED, ""),
            (b"b", AckCode.INVALID, "too big"),
            (b"c", AckCode.LEASE_LOST, ""),
        ]


@pytest.mark.parametrize("code", [0, 77])
async def test_an_ack_that_says_nothing_we_know_means_ask_again(code: int) -> None:
    async with line() as it:
        stream = await it.opened()
        report = asyncio.create_task(it.transport.report(success(b"a")))
        await stream.until(lambda: len(stream.outcomes) == 1)
        await stream.ack(*stream.outcomes, code=code)
        assert [ack.code for ack in await report] == [AckCode.RETRY]


async def everything(stream: ScriptedStream, reports: int) -> list[pb.WorkRequest]:
    """Ack what comes until it was so many; returns the frames that had outcomes."""
    await stream.until(lambda: len(stream.outcomes) >= reports)
    await stream.ack(*stream.outcomes)
    return [frame for frame in stream.frames if frame.outcomes]


async def test_what_gathered_goes_out_in_one_frame() -> None:
    async with line() as it:
        stream = await it.opened()
        calls = [asyncio.create_task(it.transport.report(success(b"%d" % n))) for n in range(100)]
        await it.transport.resize(8)
        await stream.send(ping_id=5)
        await everything(stream, 100)
        for call in calls:
            await call
        assert [len(frame.outcomes) for frame in stream.frames if frame.outcomes] == [100]


async def test_a_frame_has_at_most_256_items_updates_and_outcomes_together() -> None:
    async with line() as it:
        stream = await it.opened()
        update = asyncio.create_task(it.transport.update([LeaseUpdate(b"u%d" % n) for n in range(300)]))
        report = asyncio.create_task(it.transport.report(success(*(b"o%d" % n for n in range(600)))))
        await everything(stream, 600)
        await report
        sizes = [(len(frame.lease_updates), len(frame.outcomes)) for frame in stream.frames[1:]]
        assert sizes == [(256, 0), (44, 212), (0, 256), (0, 132)]
        await stream.send(lease_states=[pb.LeaseState(lease_token=b"u%d" % n, valid=True) for n in range(300)])
        assert len(await update) == 300


async def test_a_frame_has_at_most_a_mebibyte_unless_a_single_item_is_larger() -> None:
    sizes = [300_000] * 7 + [2 * MEBIBYTE] + [10] * 3
    reports = [OutcomeReport(b"%d" % n, Success(Payload(bytes(size)))) for n, size in enumerate(sizes)]
    async with line() as it:
        stream = await it.opened()
        call = asyncio.create_task(it.transport.report(reports))
        frames = await everything(stream, len(sizes))
        await call
        assert [len(frame.outcomes) for frame in frames] == [3, 3, 1, 1, 3]
        assert [one.lease_token for frame in frames for one in frame.outcomes] == [report.token for report in reports]


async def test_an_outcome_that_no_server_could_read_is_refused_here_and_the_others_go_out() -> None:
    async with line() as it:
        stream = await it.opened()
        huge = OutcomeReport(b"huge", Success(Payload(bytes(4 * MEBIBYTE))))
        call = asyncio.create_task(it.transport.report([*success(b"a"), huge, *success(b"b")]))
        await everything(stream, 2)
        first, refused, last = await call
        assert (first.code, last.code) == (AckCode.RECORDED, AckCode.RECORDED)
        assert refused.code is AckCode.INVALID
        assert "the most is 4194304" in refused.message


async def test_an_outcome_that_cannot_be_written_is_refused_and_the_stream_lives_on() -> None:
    async with line() as it:
        stream = await it.opened()
        odd = OutcomeReport(b"odd", Stopped("\ud800"))
        call = asyncio.create_task(it.transport.report([odd, *success(b"a")]))
        await everything(stream, 1)
        refused, recorded = await call
        assert (refused.code, recorded.code) == (AckCode.INVALID, AckCode.RECORDED)
        assert len(it.server.streams) == 1


async def test_a_checkpoint_that_no_server_could_read_is_left_out_and_the_lease_is_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with line() as it:
        stream = await it.opened()
        call = asyncio.create_task(
            it.transport.update([LeaseUpdate(b"a", 50.0, "half", checkpoint=Payload(bytes(5 * MEBIBYTE)))])
        )
        await stream.until(lambda: len(stream.updates) == 1)
        assert stream.updates[0].progress_message == "half"
        assert not stream.updates[0].HasField("checkpoint")
        assert "is not kept" in caplog.text
        await stream.send(lease_states=[pb.LeaseState(lease_token=b"a", valid=True)])
        await call


async def test_an_outcome_never_overtakes_an_update_that_was_said_before_it() -> None:
    async with line() as it:
        stream = await it.opened()
        large = [LeaseUpdate(b"u%d" % n, checkpoint=Payload(bytes(600_000))) for n in range(4)]
        update = asyncio.create_task(it.transport.update(large))
        await asyncio.sleep(0)
        report = asyncio.create_task(it.transport.report(success(b"a")))
        await everything(stream, 1)
        sizes = [(len(frame.lease_updates), len(frame.outcomes)) for frame in stream.frames[1:]]
        assert sizes == [(1, 0), (1, 0), (1, 0), (1, 1)]
        await report
        await stream.send(lease_states=[pb.LeaseState(lease_token=one.token, valid=True) for one in large])  # type: ignore[arg-type]
        await update


async def test_updates_say_only_what_is_new_and_are_answered_in_order() -> None:
    async with line() as it:
        stream = await it.opened()
        call = asyncio.create_task(
            it.transport.update([LeaseUpdate(b"a", 0.0, "begun"), LeaseUpdate(b"b"), LeaseUpdate(b"c", 99.5)])
        )
        await stream.until(lambda: len(stream.updates) == 3)
        a, b, c = stream.updates
        assert (a.progress_percent, a.HasField("progress_percent"), a.progress_message) == (0.0, True, "begun")
        assert not b.HasField("progress_percent")
        assert c.progress_percent == 99.5
        state = pb.LeaseState(lease_token=b"c", valid=True, cancel_requested=True)
        state.remaining.seconds = 30
        await stream.send(lease_states=[state, pb.LeaseState(lease_token=b"a")])
        await stream.send(lease_states=[pb.LeaseState(lease_token=b"b", valid=True)])
        assert await call == [(b"a", False, False, 0.0), (b"b", True, False, 0.0), (b"c", True, True, 30.0)]
        assert it.inbox.noted("lose") == []


async def test_updates_take_turns_so_that_an_answer_belongs_to_the_update_before_it() -> None:
    async with line() as it:
        stream = await it.opened()
        first = asyncio.create_task(it.transport.update([LeaseUpdate(b"a", 1.0)]))
        second = asyncio.create_task(it.transport.update([LeaseUpdate(b"a", 2.0)]))
        await stream.until(lambda: len(stream.updates) == 1)
        await settled()
        assert len(stream.updates) == 1
        await stream.send(lease_states=[pb.LeaseState(lease_token=b"a", valid=True)])
        await first
        assert not second.done()
        await stream.until(lambda: len(stream.updates) == 2)
        await stream.send(lease_states=[pb.LeaseState(lease_token=b"a")])
        assert await second == [LeaseState(b"a", valid=False, cancel_requested=False, remaining_seconds=0.0)]


async def test_an_update_that_is_not_answered_is_given_up_after_a_heartbeat_interval() -> None:
    async with line() as it:
        stream = await it.opened()
        call = asyncio.create_task(it.transport.update([LeaseUpdate(b"a")]))
        await stream.until(lambda: len(stream.updates) == 1)
        it.clock.advance(HEARTBEAT_SECONDS)
        with pytest.raises(ConnectionError, match="did not answer within 10 s"):
            await call
        late = asyncio.create_task(it.transport.update([LeaseUpdate(b"b")]))
        await stream.until(lambda: len(stream.updates) == 2)
        await stream.send(lease_states=[pb.LeaseState(lease_token=b"a"), pb.LeaseState(lease_token=b"b", valid=True)])
        assert [state.valid for state in await late] == [True]
        assert await it.inbox.note("lose") == [b"a"]
        assert not stream.gone


async def test_leases_that_the_server_ends_by_itself_and_cancel_orders_reach_the_inbox() -> None:
    async with line() as it:
        stream = await it.opened()
        order = pb.CancelOrder(lease_token=b"c", job_id="j", reason="enough")
        order.grace.seconds = 7
        await stream.send(
            cancel_orders=[order],
            lease_states=[pb.LeaseState(lease_token=b"a"), pb.LeaseState(lease_token=b"b", valid=True)],
        )
        assert await it.inbox.note("cancel") == [CancelOrder(b"c", "enough", 7.0)]
        assert await it.inbox.note("lose") == [b"a"]


async def test_pings_are_echoed_and_only_the_last_of_a_burst() -> None:
    async with line() as it:
        stream = await it.opened()
        await stream.send(ping_id=7)
        await stream.until(lambda: stream.pongs == [7])
        for ping_id in range(8, 12):
            await stream.send(ping_id=ping_id)
        await stream.until(lambda: stream.pongs[-1] == 11)


async def test_an_abandoned_lease_is_told_and_told_again_when_the_server_could_not_end_it() -> None:
    async with line() as it:
        stream = await it.opened()
        await abandoned(it, stream, pb.OUTCOME_CODE_RECORDED)
        assert stream.outcomes[0].WhichOneof("outcome") == "abandoned"
        await abandoned(it, stream, pb.OUTCOME_CODE_LEASE_LOST)
        with pytest.raises(ConnectionError, match="could not end"):
            await abandoned(it, stream, pb.OUTCOME_CODE_RETRY)


async def abandoned(it: Line, stream: ScriptedStream, code: int) -> None:
    before = len(stream.outcomes)
    call = asyncio.create_task(it.transport.abandon([b"dead"]))
    await stream.until(lambda: len(stream.outcomes) == before + 1)
    await stream.ack(stream.outcomes[-1], code=code)
    await call


async def test_nothing_to_report_is_nothing_to_wait_for() -> None:
    async with line() as it:
        stream = await it.opened()
        assert await it.transport.report([]) == []
        assert await it.transport.update([]) == []
        assert len(stream.frames) == 1
