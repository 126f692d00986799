"""How a worker stays at its server: Work streams on a real gRPC server that follows a script, in virtual time."""

from __future__ import annotations

import asyncio
import logging

import grpc
import pytest

from jobwire.errors import FieldInvalid, Unsupported
from jobwire.v1 import worker_service_pb2 as pb
from jobwire.worker.transport import Hello, LeaseUpdate, Subscription, Welcome
from tests.worker.stream_support import HELLO, Line, assignment, line, success
from tests.worker.support import settled

pytestmark = pytest.mark.asyncio

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def test_the_hello_says_who_the_worker_is_and_asks_for_nothing_yet() -> None:
    hello = Hello(
        worker_id="w", instance_id="i", types=("a", "b"), max_in_flight=7,
        queues=(Subscription("mail", 3, 5), Subscription("*")), max_in_flight_bytes=1000, lease_seconds=12.5,
    )  # fmt: skip
    async with line() as it:
        stream = await it.opened(hello)
        said = stream.hello
        assert (said.worker_id, said.instance_id, list(said.types)) == ("w", "i", ["a", "b"])
        assert [(one.queue, one.weight, one.max_in_flight) for one in said.queues] == [("mail", 3, 5), ("*", 1, 0)]
        assert (said.max_in_flight, said.max_in_flight_bytes) == (0, 1000)
        assert said.lease_duration.ToTimedelta().total_seconds() == 12.5
        assert said.user_agent.startswith("jobwire-python/")
        await it.transport.resize(7)
        await stream.until(lambda: stream.windows == [7])


async def test_the_terms_are_those_of_the_welcome() -> None:
    async with line() as it:
        opening = asyncio.create_task(it.transport.open(HELLO, it.inbox))
        await it.server.welcomed()
        assert await opening == Welcome(lease_seconds=30.0, heartbeat_seconds=10.0, cancel_grace_seconds=10.0)


async def test_it_waits_for_a_server_that_is_not_there_yet(caplog: pytest.LogCaptureFixture) -> None:
    async with line(listening=False) as it:
        opening = asyncio.create_task(it.transport.open(HELLO, it.inbox))
        assert await it.paused() == 0.1
        with pytest.raises(ConnectionError, match="no stream"):
            await it.transport.report(success(b"a"))
        it.clock.advance(0.1)
        await it.server.start()
        await (await it.let_pauses_pass()).welcome()
        assert (await opening).lease_seconds == 30.0
        assert [record.levelname for record in caplog.records][:1] == ["WARNING"]
        assert "Cannot reach the server" in caplog.text


async def test_a_refusal_is_raised_in_the_servers_own_words() -> None:
    async with line() as it:
        opening = asyncio.create_task(it.transport.open(HELLO, it.inbox))
        stream = await it.server.stream()
        stream.end(INVALID, "FIELD_INVALID", "hello.queues must not be empty.", violations=[("hello.queues", "empty")])
        with pytest.raises(FieldInvalid, match="must not be empty") as refused:
            await opening
        assert refused.value.violations[0].field == "hello.queues"
        assert len(it.server.streams) == 1
        assert it.inbox.notes == []


async def test_a_server_without_the_service_is_not_asked_again() -> None:
    async with line(listening=False) as it:
        await it.server.start(knows_work=False)
        with pytest.raises(Unsupported):
            await it.transport.open(HELLO, it.inbox)


async def test_after_a_cut_the_next_hello_names_what_is_held_and_the_window_that_counts_now() -> None:
    async with line() as it:
        stream = await it.opened()
        await it.transport.resize(5)
        it.inbox.holding = [b"running", b"unacked"]
        stream.end(UNAVAILABLE, message="Socket closed")
        await it.paused()
        await it.transport.resize(4)
        stream = await it.next_stream()
        assert list(stream.hello.held_lease_tokens) == [b"running", b"unacked"]
        assert (stream.hello.instance_id, stream.hello.max_in_flight) == ("i", 4)


async def test_a_window_that_changes_while_the_hello_is_under_way_is_told_afterwards() -> None:
    async with line() as it:
        (await it.opened()).end()
        stream = await it.next_stream()
        await it.transport.resize(3)
        await stream.welcome()
        await stream.until(lambda: stream.windows == [3])


async def test_the_inbox_hears_what_became_of_held_leases_before_any_new_work() -> None:
    async with line() as it:
        it.inbox.holding = [b"a", b"b"]
        (await it.opened()).end()
        stream = await it.next_stream()
        kept = pb.LeaseState(lease_token=b"a", valid=True, cancel_requested=True)
        kept.remaining.seconds, kept.remaining.nanos = 12, 500_000_000
        await stream.welcome([kept, pb.LeaseState(lease_token=b"b")], assignments=[assignment(b"c")])
        await it.inbox.note("assign")
        (_, (welcome, states)), (name, _) = it.inbox.notes
        assert name == "assign"
        assert welcome.heartbeat_seconds == 10.0
        assert states == [(b"a", True, True, 12.5), (b"b", False, False, 0.0)]


async def test_an_outcome_whose_ack_never_came_is_unknown() -> None:
    async with line() as it:
        stream = await it.opened()
        report = asyncio.create_task(it.transport.report(success(b"a", b"b")))
        update = asyncio.create_task(it.transport.update([LeaseUpdate(b"c")]))
        await stream.until(lambda: len(stream.outcomes) == 2)
        await stream.ack(stream.outcomes[0])
        stream.end(UNAVAILABLE, message="Socket closed")
        for call in (report, update):
            with pytest.raises(ConnectionError, match="Cannot reach the server"):
                await call
        with pytest.raises(ConnectionError):
            await it.transport.report(success(b"a"))
        stream = await it.next_stream()
        await stream.welcome()
        while not it.inbox.noted("renewed"):  # noqa: ASYNC110 (the inbox is told between two turns)
            await asyncio.sleep(0)
        again = asyncio.create_task(it.transport.report(success(b"a", b"b")))
        await stream.until(lambda: len(stream.outcomes) == 2)
        await stream.ack(*stream.outcomes, code=pb.OUTCOME_CODE_DUPLICATE)
        assert [int(ack.code) for ack in await again] == [pb.OUTCOME_CODE_DUPLICATE] * 2


async def test_pauses_grow_while_streams_fail_and_start_small_after_a_good_one() -> None:
    async with line() as it:
        stream = await it.opened()
        it.clock.advance(10)
        for expected in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0):
            stream.end(UNAVAILABLE, message="Socket closed")
            assert await it.paused() == pytest.approx(expected)
            stream = await it.next_stream()
        await stream.welcome()
        await it.inbox.note("renewed")
        await settled()
        it.clock.advance(5)
        stream.end(UNAVAILABLE, message="Socket closed")
        assert await it.paused() == pytest.approx(0.1)


async def test_pauses_are_full_jitter() -> None:
    chances = iter([0.0, 0.0, 0.5, 0.0])
    async with line(chance=lambda: next(chances)) as it:
        stream = await it.opened()
        stream.end()
        stream = await it.server.stream()  # a pause of nothing
        stream.end()
        assert await it.paused() == pytest.approx(0.1)  # half of 0.2
        await it.next_stream()


@pytest.mark.parametrize("reason", ["DRAINING", "STREAM_AGE", "WORKER_SILENT", "STORE_UNAVAILABLE"])
async def test_a_server_that_says_when_to_come_back_is_obeyed(reason: str) -> None:
    async with line(chance=lambda: 0.0) as it:
        stream = await it.opened()
        stream.end(UNAVAILABLE, reason, "Come back later.", retry_after_seconds=7)
        assert await it.paused() == 7.0
        await (await it.next_stream()).welcome()
        await it.inbox.note("renewed")


async def test_a_silent_server_is_left_after_45_seconds_and_frames_keep_it() -> None:
    async with line() as it:
        stream = await it.opened()
        it.clock.advance(44)
        await stream.send(ping_id=1)
        await stream.until(lambda: stream.pongs == [1])
        it.clock.advance(44.9)
        await settled()
        assert not stream.gone
        report = asyncio.create_task(it.transport.report(success(b"a")))
        await stream.until(lambda: len(stream.outcomes) == 1)
        it.clock.advance(0.2)
        with pytest.raises(ConnectionError, match=r"silent for 45 s"):
            await report
        await stream.until(lambda: stream.gone)
        await it.next_stream()


async def test_a_server_that_never_says_welcome_is_left_too() -> None:
    async with line() as it:
        opening = asyncio.create_task(it.transport.open(HELLO, it.inbox))
        await it.server.stream()
        it.clock.advance(46)
        await (await it.next_stream()).welcome()
        await opening


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff",
        pb.WorkResponse(ping_id=1).SerializeToString(),
        pb.WorkResponse(assignments=[assignment(b"a")]).SerializeToString(),
    ],
)
async def test_a_first_frame_that_is_no_welcome_is_the_end_of_its_stream(data: bytes) -> None:
    async with line() as it:
        opening = asyncio.create_task(it.transport.open(HELLO, it.inbox))
        stream = await it.server.stream()
        await stream.send_bytes(data)
        await stream.until(lambda: stream.gone)
        await (await it.next_stream()).welcome()
        await opening
        assert it.inbox.notes == []


@pytest.mark.parametrize(
    "data", [b"\x12\x05\x0a", pb.WorkResponse(welcome=pb.WorkerWelcome(), ping_id=1).SerializeToString()]
)
async def test_a_later_frame_that_makes_no_sense_is_the_end_of_its_stream(data: bytes) -> None:
    async with line() as it:
        stream = await it.opened()
        await stream.send_bytes(data)
        await stream.until(lambda: stream.gone)
        await (await it.next_stream()).welcome()
        await it.inbox.note("renewed")


# --- drain notices ----------------------------------------------------------------------------------------------------


def notice(reason: str, delay_seconds: int = 0) -> pb.DrainNotice:
    drain = pb.DrainNotice(reason=reason)
    drain.reconnect_delay.seconds = delay_seconds
    return drain


async def test_a_stream_that_has_to_go_carries_on_until_its_successor_is_welcome() -> None:
    async with line(chance=lambda: 0.0) as it:
        old = await it.opened()
        report = asyncio.create_task(it.transport.report(success(b"a")))
        await old.send(drain=notice("STREAM_AGE", 3))
        assert await it.paused() == 3.0
        await old.until(lambda: len(old.outcomes) == 1)
        new = await it.next_stream()
        assert not old.half_closed
        await new.welcome()
        await old.until(lambda: old.half_closed)
        await old.ack(*old.outcomes)
        assert [int(ack.code) for ack in await report] == [pb.OUTCOME_CODE_RECORDED]
        second = asyncio.create_task(it.transport.report(success(b"b")))
        await new.until(lambda: [one.lease_token for one in new.outcomes] == [b"b"])
        old.end()
        await settled()
        assert not second.done()
        await new.ack(*new.outcomes)
        await second


async def test_what_the_next_hello_did_not_name_is_never_delivered() -> None:
    async with line(chance=lambda: 0.0) as it:
        old = await it.opened()
        await old.send(drain=notice("STREAM_AGE", 1), assignments=[assignment(b"before")])
        await it.inbox.note("assign")
        new = await it.next_stream()
        # The server has that hello: it has put back what the hello lacks, and may have leased it to somebody else.
        await old.send(assignments=[assignment(b"after")], lease_states=[pb.LeaseState(lease_token=b"x")])
        await it.inbox.note("lose")
        await new.welcome(assignments=[assignment(b"new")])
        await it.inbox.note("assign", 2)
        assert it.inbox.noted("assign") == [[b"before"], [b"new"]]


async def test_when_the_successor_fails_the_old_stream_still_takes_outcomes() -> None:
    async with line(chance=lambda: 0.0) as it:
        old = await it.opened()
        await old.send(drain=notice("DRAINING"))
        refused = await it.server.stream()
        refused.end(UNAVAILABLE, "DRAINING", "The server is shutting down.", retry_after_seconds=1)
        await it.paused()
        report = asyncio.create_task(it.transport.report(success(b"a")))
        await old.until(lambda: len(old.outcomes) == 1)
        await old.ack(*old.outcomes)
        await report
        assert not old.half_closed


async def replaced(it: Line, number: int) -> None:
    stream = it.server.streams[-1]
    await stream.send(drain=notice("REPLACED"))
    stream.end()


async def test_who_was_replaced_once_comes_back_after_a_pause() -> None:
    async with line(chance=lambda: 0.0) as it:
        await it.opened()
        await replaced(it, 1)
        assert await it.paused() == 5.0
        await (await it.next_stream()).welcome()
        await it.inbox.note("renewed")


async def test_who_is_replaced_again_within_a_minute_gives_up_and_says_why() -> None:
    async with line(chance=lambda: 0.0) as it:
        await it.opened()
        await replaced(it, 1)
        await (await it.next_stream()).welcome()
        await it.inbox.note("renewed")
        it.clock.advance(40)
        await replaced(it, 2)
        why = await it.inbox.note("refuse")
        assert "Another process connects as worker 'w'" in why
        assert "a name of its own" in why
        with pytest.raises(ConnectionError, match="Another process"):
            await it.transport.report(success(b"a"))
        assert len(it.server.streams) == 2


# --- refusals after the welcome ---------------------------------------------------------------------------------------


async def test_a_refusal_in_the_servers_own_words_ends_it_for_good() -> None:
    async with line() as it:
        stream = await it.opened()
        stream.end(INVALID, "PROTOCOL_VIOLATION", "A frame holds at most 256 outcomes.")
        assert "A frame holds at most 256 outcomes." in await it.inbox.note("refuse")
        with pytest.raises(ConnectionError, match="at most 256"):
            await it.transport.update([LeaseUpdate(b"a")])
        assert len(it.server.streams) == 1


@pytest.mark.parametrize("code", [INVALID, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL])
async def test_a_refusal_by_somebody_in_between_is_only_for_now(code: grpc.StatusCode) -> None:
    async with line() as it:
        stream = await it.opened()
        stream.end(code, message="upstream confused")
        await (await it.next_stream()).welcome()
        await it.inbox.note("renewed")
        assert it.inbox.noted("refuse") == []


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_close_says_what_is_left_half_closes_and_waits_for_the_servers_end() -> None:
    async with line() as it:
        stream = await it.opened()
        await it.transport.resize(0)
        closing = asyncio.create_task(it.transport.close())
        await stream.until(lambda: stream.half_closed)
        assert stream.windows == [0]
        await settled()
        assert not closing.done()
        stream.end()
        await closing


async def test_a_cancelled_open_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    before = asyncio.all_tasks()
    async with line(listening=False) as it:
        opening = asyncio.create_task(it.transport.open(HELLO, it.inbox))
        await it.paused()
        opening.cancel()
        await asyncio.wait((opening,))
        await settled()
        assert asyncio.all_tasks() <= before
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
