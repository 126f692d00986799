"""Who sends and who waits, without any I/O: the decisions of merging, told as stories of callers at a counter."""

from __future__ import annotations

import pytest

from jobwire._calls import Call
from jobwire._merging import MOST_IN_FLIGHT, Merging, Waiting, Word, call_of, submitted
from jobwire._requests import MAX_BATCH_BYTES, MAX_BATCH_SIZE, Submitted
from jobwire.errors import BatchTooLarge, CallTimeout, QueueFull, ServerBug, ServerUnreachable
from jobwire.models import JobState
from jobwire.v1 import job_pb2
from jobwire.v1 import job_service_pb2 as pb


class Counter:
    """A counter where callers queue, and the order in which they are called."""

    def __init__(self, *, retries_fully: bool = True) -> None:
        self.merging = Merging(retries_fully=retries_fully)
        self.woken: list[str] = []

    def come(self, name: str, *, since: float = 0.0, seconds: float = 10.0, size_bytes: int = 0) -> Waiting:
        request = pb.SubmitJobRequest(request_id=name)
        request.spec.payload.data = bytes(size_bytes)
        call = Call("SubmitJob", request, lambda answer: answer, seconds)
        waiting = Waiting(call, since, lambda: self.woken.append(name))
        self.merging.enter(waiting)
        return waiting

    def fill(self) -> list[Waiting]:
        """Have as many calls under way as there may be, each of one."""
        leaders = []
        for number in range(MOST_IN_FLIGHT):
            leaders.append(self.come(f"early-{number}"))
            assert self.take(leaders[-1]) == [f"early-{number}"]
        return leaders

    def take(self, leader: Waiting) -> list[str]:
        assert leader.verdict is Word.LEAD
        return [waiting.call.request.request_id for waiting in self.merging.take(leader)]  # type: ignore[attr-defined]


def answer(name: str) -> Submitted:
    return Submitted(name, True, JobState.PENDING)


def result(name: str) -> pb.SubmitResult:
    return pb.SubmitResult(job_id=name, created=True, state=job_pb2.JOB_STATE_PENDING)


def refusal(reason: str) -> pb.SubmitResult:
    return pb.SubmitResult(error=pb.SubmitError(reason=reason, message="No."))


@pytest.fixture
def counter() -> Counter:
    return Counter()


def test_the_first_goes_at_once_and_alone(counter: Counter) -> None:
    first = counter.come("a")

    assert counter.take(first) == ["a"]
    assert call_of([first]) is first.call
    counter.merging.settle(first, answer("job"))
    assert submitted(first.verdict) == answer("job")


def test_who_comes_while_calls_are_under_way_goes_together_as_soon_as_one_is_back(counter: Counter) -> None:
    early, *_ = counter.fill()
    later = [counter.come(name) for name in "abc"]
    assert [waiting.verdict for waiting in later] == [None] * 3

    counter.merging.settle(early, answer("job"))

    assert counter.woken == ["early-0", "c"], "the next leader is the newest, and is woken last"
    assert sorted(counter.take(later[2])) == ["a", "b", "c"]
    call = call_of(later[2].led)
    assert (call.rpc, call.request.independent) == ("BatchSubmitJobs", True)  # type: ignore[attr-defined]


def test_who_comes_while_a_leader_gathers_joins_its_batch(counter: Counter) -> None:
    leader = counter.come("a")
    other = counter.come("b")

    assert other.verdict is None
    assert counter.take(leader) == ["a", "b"]


def test_each_is_told_its_own_answer_and_a_bad_one_fails_alone(counter: Counter) -> None:
    leader, good, bad, full = (counter.come(name) for name in ("leader", "good", "bad", "full"))
    assert counter.take(leader) == ["leader", "good", "bad", "full"]

    results = [result("1"), result("2"), refusal("FIELD_INVALID"), refusal("QUEUE_FULL")]
    counter.merging.settle(leader, results)

    assert submitted(leader.verdict).job_id == "1"
    assert submitted(good.verdict).job_id == "2"
    assert bad.verdict is Word.ALONE, "only its own call says everything about a refusal"
    assert isinstance(full.verdict, QueueFull), "asking again would only add to the crowd"


def test_a_batch_is_bounded_in_number_and_the_rest_goes_with_the_next_call(counter: Counter) -> None:
    early = counter.fill()
    crowd = [counter.come(f"c{n}") for n in range(2 * MAX_BATCH_SIZE + 1)]
    for leader in early:
        counter.merging.settle(leader, answer("job"))

    first = next(waiting for waiting in crowd if waiting.verdict is Word.LEAD)
    assert len(counter.take(first)) == MAX_BATCH_SIZE
    second = next(waiting for waiting in crowd if waiting.verdict is Word.LEAD)
    assert len(counter.take(second)) == MAX_BATCH_SIZE
    counter.merging.settle(first, [result(str(n)) for n in range(MAX_BATCH_SIZE)])
    assert sum(waiting.verdict is Word.LEAD for waiting in crowd) == 0, "not worth a call beside one of a thousand"
    counter.merging.settle(second, [result(str(n)) for n in range(MAX_BATCH_SIZE)])
    last = next(waiting for waiting in crowd if waiting.verdict is Word.LEAD)
    assert len(counter.take(last)) == 1


def test_a_batch_is_bounded_in_bytes(counter: Counter) -> None:
    early = counter.fill()
    crowd = [counter.come(f"c{n}", size_bytes=MAX_BATCH_BYTES // 3) for n in range(4)]
    counter.merging.settle(early[0], answer("job"))

    leader = next(waiting for waiting in crowd if waiting.verdict is Word.LEAD)

    assert len(counter.take(leader)) == 2
    request = call_of(leader.led).request
    assert request.ByteSize() <= MAX_BATCH_BYTES


def test_a_few_stragglers_wait_for_a_large_batch_since_each_call_costs_the_server_a_commit(counter: Counter) -> None:
    leader = counter.come("a")
    for n in range(63):
        counter.come(f"c{n}")
    assert len(counter.take(leader)) == 64

    stragglers = [counter.come(f"s{n}") for n in range(31)]
    assert [straggler.verdict for straggler in stragglers] == [None] * 31

    assert counter.come("one more").verdict is Word.LEAD, "half of what is under way is worth a call"


def test_when_the_leader_is_gone_another_one_leads_the_others_again(counter: Counter) -> None:
    leader, *others = (counter.come(name) for name in "abc")
    counter.take(leader)

    counter.merging.leave(leader)

    assert counter.woken == ["c"]
    assert counter.take(others[1]) == ["c", "b"]
    counter.merging.settle(others[1], [result("1"), result("2")])
    assert [submitted(waiting.verdict).job_id for waiting in others] == ["2", "1"]
    assert leader.verdict is None


def test_when_a_leader_is_gone_before_it_took_a_batch_another_one_leads(counter: Counter) -> None:
    leader, other = counter.come("a"), counter.come("b")

    counter.merging.leave(leader)

    assert counter.take(other) == ["b"]


def test_who_is_gone_while_it_waits_is_not_sent(counter: Counter) -> None:
    early, *_ = counter.fill()
    gone, other = counter.come("a"), counter.come("b")

    counter.merging.leave(gone)
    counter.merging.settle(early, answer("job"))

    assert counter.take(other) == ["b"]


def test_who_is_gone_from_a_call_under_way_takes_nothing_from_the_others(counter: Counter) -> None:
    leader, gone, other = (counter.come(name) for name in "abc")
    counter.take(leader)

    counter.merging.leave(gone)
    counter.merging.settle(leader, [result("1"), result("2"), result("3")])

    assert gone.verdict is None
    assert submitted(other.verdict).job_id == "3"


@pytest.mark.parametrize("error", [ServerUnreachable("Gone."), CallTimeout("Late.")])
def test_who_has_more_time_than_the_leader_had_waits_again_when_the_server_is_not_there(
    counter: Counter, error: ServerUnreachable | CallTimeout
) -> None:
    leader, as_hasty, patient = counter.come("a", seconds=1), counter.come("b", seconds=1), counter.come("c", seconds=9)
    counter.take(leader)

    counter.merging.settle(leader, error)

    for told in (leader.verdict, as_hasty.verdict):
        assert told is Word.LATE if isinstance(error, CallTimeout) else isinstance(told, ServerUnreachable)
    assert patient.verdict is Word.LEAD


def test_nobody_waits_again_when_the_number_of_tries_is_bounded() -> None:
    counter = Counter(retries_fully=False)
    leader, patient = counter.come("a", seconds=1), counter.come("b", seconds=9)
    counter.take(leader)

    counter.merging.settle(leader, ServerUnreachable("Gone."))

    assert isinstance(patient.verdict, ServerUnreachable)


def test_each_gets_an_error_of_its_own_to_raise(counter: Counter) -> None:
    leader, other = counter.come("a"), counter.come("b")
    counter.take(leader)

    counter.merging.settle(leader, QueueFull("Full."))

    assert isinstance(leader.verdict, QueueFull)
    assert isinstance(other.verdict, QueueFull)
    assert leader.verdict is not other.verdict
    with pytest.raises(QueueFull, match=r"^Full\.$"):
        submitted(other.verdict)


@pytest.mark.parametrize("error", [BatchTooLarge("Too many."), ServerBug("Oh.")])
def test_when_the_batch_was_at_fault_each_asks_alone(counter: Counter, error: BatchTooLarge | ServerBug) -> None:
    leader, other = counter.come("a"), counter.come("b")
    counter.take(leader)

    counter.merging.settle(leader, error)

    assert leader.verdict is other.verdict is Word.ALONE


def test_when_answers_are_missing_each_asks_alone(counter: Counter) -> None:
    leader, other = counter.come("a"), counter.come("b")
    counter.take(leader)

    counter.merging.settle(leader, [result("1")])

    assert leader.verdict is other.verdict is Word.ALONE
