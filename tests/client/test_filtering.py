"""The language for choosing jobs: what it means, what it refuses, and how it says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwire.errors import ArgumentInvalid
from jobwire.filtering import FIELDS, FilterInvalid, compile_filter, parse_filter, split_filter
from jobwire.v1 import job_pb2

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def job(**given: object) -> job_pb2.Job:
    """A job of which only this is known: type, queue, labels, priority, batch_id; the rest are fields of its status."""
    spec = {name: given.pop(name) for name in ("type", "queue", "labels", "priority") if name in given}
    batch_id = str(given.pop("batch_id", ""))
    return job_pb2.Job(spec=job_pb2.JobSpec(**spec), status=job_pb2.JobStatus(**given), batch_id=batch_id)  # type: ignore[arg-type]


def kept(text: str, *jobs: job_pb2.Job) -> list[bool]:
    split = split_filter(text, now=NOW)
    return [split.keeps(each) for each in jobs]


# --- what the server looks for --------------------------------------------------------------------------------------


def test_no_condition_means_every_job() -> None:
    assert compile_filter("", now=NOW) == job_pb2.JobFilter()
    assert compile_filter("  \t ", now=NOW) == job_pb2.JobFilter()


def test_conditions_become_the_fields_of_the_contract() -> None:
    made = compile_filter("state:failed,RETRYING queue:mail,bulk type:email.send label.customer:42 batch:b7", now=NOW)

    assert made == job_pb2.JobFilter(
        states=[job_pb2.JOB_STATE_RETRYING, job_pb2.JOB_STATE_FAILED], queues=["mail", "bulk"], types=["email.send"],
        labels={"customer": "42"}, batch_id="b7",
    )  # fmt: skip


def test_a_state_may_be_written_as_the_contract_writes_it() -> None:
    assert compile_filter("state:JOB_STATE_FAILED", now=NOW).states == [job_pb2.JOB_STATE_FAILED]


def test_states_can_be_left_out() -> None:
    made = compile_filter("-state:completed -state:failed,cancelled", now=NOW)

    assert len(made.states) == len(job_pb2.JobState.keys()) - 1 - 3
    assert job_pb2.JOB_STATE_COMPLETED not in made.states
    assert job_pb2.JOB_STATE_UNSPECIFIED not in made.states


def test_younger_and_older_share_out_all_jobs() -> None:
    younger, older = compile_filter("age<1h", now=NOW), compile_filter("age>1h", now=NOW)

    assert younger.create_time_min.ToDatetime(UTC) == older.create_time_max.ToDatetime(UTC) == NOW - HOUR
    assert not younger.HasField("create_time_max")
    assert not older.HasField("create_time_min")


def test_two_ages_make_a_window_and_the_narrower_bound_wins() -> None:
    made = compile_filter("age>30m age>1h age>10m age<7d age<2d created>2026-01-01T00:00:00Z", now=NOW)

    assert made.create_time_max.ToDatetime(UTC) == NOW - HOUR
    assert made.create_time_min.ToDatetime(UTC) == NOW - timedelta(days=2)


def test_a_time_of_creation_is_taken_with_its_zone() -> None:
    made = compile_filter("created<2026-11-21T01:00:00+01:00", now=NOW)

    assert made.create_time_max.ToDatetime(UTC) == datetime(2026, 11, 21, tzinfo=UTC)


def test_quotes_hold_blanks_commas_stars_and_quotes() -> None:
    made = compile_filter(r'label."the name":"Ada \"the\" Countess, of L*" queue:"a,b","c\\d"', now=NOW)

    assert dict(made.labels) == {"the name": 'Ada "the" Countess, of L*'}
    assert list(made.queues) == ["a,b", r"c\d"]


def test_a_value_may_hold_colons_and_signs() -> None:
    made = compile_filter("label.url:http://a:80/<x>", now=NOW)

    assert dict(made.labels) == {"url": "http://a:80/<x>"}


# --- what is left to the reader -------------------------------------------------------------------------------------


def test_what_the_server_cannot_look_for_is_left_to_the_reader_of_its_answers() -> None:
    split = split_filter("state:failed type:email.* queue:mail", now=NOW)

    assert split.condition == job_pb2.JobFilter(states=[job_pb2.JOB_STATE_FAILED], queues=["mail"])
    assert [str(condition) for condition in split.rest] == ["type:email.*"]


def test_a_star_means_begins_with_and_a_tilde_contains_in_any_case() -> None:
    send, digest, other = job(type="email.send"), job(type="email.digest"), job(type="Report.Email")

    assert kept("type:email.*", send, digest, other) == [True, True, False]
    assert kept("type:email.d*,report.*", send, digest, other) == [False, True, False]
    assert kept("type:~EMAIL", send, digest, other) == [True, True, True]


def test_a_minus_turns_a_condition_round() -> None:
    assert kept("-queue:mail,bulk", job(queue="mail"), job(queue="bulk"), job(queue="web")) == [False, False, True]
    assert kept("-label.env:prod", job(labels={"env": "prod"}), job(labels={"env": "dev"}), job()) == [
        False,
        True,
        True,
    ]


def test_a_label_can_be_asked_for_by_its_key_alone() -> None:
    assert kept("label.env:*", job(labels={"env": ""}), job(labels={"other": "x"})) == [True, False]
    assert kept("-label.env:*", job(labels={"env": ""}), job(labels={"other": "x"})) == [False, True]
    assert kept("label.env:prod,dev", job(labels={"env": "dev"}), job(labels={"env": "x"})) == [True, False]


def test_an_empty_batch_is_looked_for_by_the_reader() -> None:
    """To the server it would be no condition, and so every job."""
    assert dict(compile_filter('label.env:""', now=NOW).labels) == {"env": ""}
    assert [str(rest) for rest in split_filter('batch:""', now=NOW).rest] == ['batch:""']
    assert kept("-batch:*", job(batch_id="b"), job()) == [False, True]


def test_the_last_error_is_searched_with_its_class() -> None:
    broken = job(last_error=job_pb2.JobError(type="TimeoutError", message="read timed out"))

    assert kept('error:~"timed out"', broken, job()) == [True, False]
    assert kept("error:TimeoutError*", broken, job()) == [True, False]
    assert kept("-error:*", broken, job()) == [False, True]


def test_numbers_are_compared_as_numbers() -> None:
    jobs = [job(attempt=attempt) for attempt in (1, 2, 10)]

    assert kept("attempt>2", *jobs) == [False, False, True]
    assert kept("attempt>=2", *jobs) == [False, True, True]
    assert kept("attempt<2", *jobs) == [True, False, False]
    assert kept("attempt<=2", *jobs) == [True, True, False]
    assert kept("attempt:2,010", *jobs) == [False, True, True]
    assert kept("priority>5", job(priority=9), job(priority=5)) == [True, False]


def test_run_is_the_time_of_the_attempt_that_runs_or_of_an_ended_job() -> None:
    def at(minutes_ago: int) -> object:
        stamp = job_pb2.JobStatus().start_time
        stamp.FromDatetime(NOW - timedelta(minutes=minutes_ago))
        return stamp

    runs = job(state=job_pb2.JOB_STATE_PROCESSING, start_time=at(20))
    ended = job(state=job_pb2.JOB_STATE_COMPLETED, start_time=at(60), finish_time=at(59))
    rests = job(state=job_pb2.JOB_STATE_RETRYING, start_time=at(60))

    assert kept("run>10m", runs, ended, rests, job()) == [True, False, False, False]
    assert kept("run<10m", runs, ended, rests, job()) == [False, True, False, False]


def test_a_filter_for_the_server_alone_refuses_what_a_job_filter_cannot_hold() -> None:
    with pytest.raises(FilterInvalid) as caught:
        compile_filter("queue:mail type:email.*", now=NOW)

    assert caught.value.message == "The filter cannot be used: type:email.* is more than the server can look for."
    assert "exact values of state, queue, type" in caught.value.hint
    assert caught.value.picture == ("queue:mail type:email.*", "           ^^^^^^^^^^^^")


# --- refusals -------------------------------------------------------------------------------------------------------

REFUSED = [
    # (text, what the carets mark, what the error says, what its advice says)
    ("stat:failed", "stat", "there is no field 'stat'", "did you mean state?"),
    ("nonsense:1", "nonsense", "there is no field 'nonsense'", "fields are age, attempt, batch"),
    ("email.send", "email.send", "'email.send' does not say what it is about", "write type:email.send"),
    ("state=failed", "state=failed", "state needs its value behind a colon", "write state:VALUE"),
    ("state", "state", "state needs its value behind a colon", "write state:VALUE"),
    ("queue:a AND state:failed", "AND", "AND is not needed", "state:failed,retrying"),
    ("state:failed or state:expired", "or", "or is not needed", "state:failed,retrying"),
    ("state: failed", "state:", "a value is missing", "without a blank"),
    ("state:failed,", "state:failed,", "a value is missing", "without a blank"),
    ("state:faled", "faled", "'faled' is no state", "did you mean failed?"),
    ("state:fail*", "fail*", "'fail' is no state", "states are"),
    ("state>failed", "state>failed", "state cannot be greater or less", "write state:VALUE"),
    ("state:failed -state:failed", "state:failed -state:failed", "no state is left", "leave out some"),
    ("queue:a queue:b", "queue:b", "queue stands there twice", "write queue:a,b"),
    ("label.a:1 label.a:2", "label.a:2", "label.a stands there twice", "write label.a:1,2"),
    ("label:a", "label:a", "a label needs its key and a value", "write label.customer:42"),
    ("label.a", "label.a", "a label needs its key and a value", "write label.customer:42"),
    ("label.a=b", "label.a=b", "a label needs its key and a value", "write label.customer:42"),
    ("age:1h", "age:1h", "age takes a limit, not a value", "write age>1h"),
    ("age>", "age>", "nothing stands behind >", "write age>1h"),
    ("age>soon", "soon", "'soon' is not a duration", "write 250ms"),
    ("-age>1h", "-age>1h", "a comparison cannot be negated", "turn its sign round"),
    ("created>2026-11-21", "2026-11-21", "is not a time with its zone", "2026-11-21T12:31:04Z"),
    ("created>2026-11-21T00:00:00", "2026-11-21T00:00:00", "is not a time with its zone", "2026-11-21T12:31:04Z"),
    ("attempt>many", "many", "'many' is not a number", "write attempt>3"),
    ("attempt:~3", "~3", "'3' is not a number", "write attempt:3"),
    ('queue:"a', '"a', "the quotes are not closed", 'end the value with "'),
    ('queue:a"b"', 'a"', "quotes go around a whole value", "write type:email.*"),
    ("type:a*b", "a*b", "* stands only at the end", "write type:email.*"),
    ("type:~a*", "~a*", "~ and * exclude each other", "leave out the *"),
    ("(state:failed)", "(", "there is no field ''", "fields are"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "marked", "what", "advice"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_makes_no_sense_is_refused_with_its_place_and_a_way_out(
    text: str, marked: str, what: str, advice: str
) -> None:
    with pytest.raises(FilterInvalid) as caught:
        split_filter(text, now=NOW)

    error = caught.value
    assert what in error.message
    assert advice in error.hint
    shown, carets = error.picture
    begin = carets.index("^")
    assert shown == text
    assert shown[begin : len(carets)] == marked


def test_the_error_is_one_of_the_clients_own_and_shows_the_place_in_its_text() -> None:
    with pytest.raises(ArgumentInvalid, match="there is no field") as caught:
        parse_filter("queue:mail stat:failed")

    assert caught.value.code == "ARGUMENT_INVALID"
    assert str(caught.value).splitlines()[1:3] == ["    queue:mail stat:failed", "               ^^^^"]


def test_the_place_is_shown_in_a_long_text_too() -> None:
    with pytest.raises(FilterInvalid) as caught:
        parse_filter(f"queue:{'m' * 5000} stat:failed queue:{'n' * 5000}")

    shown, carets = caught.value.picture
    assert len(shown) <= 120
    assert shown[carets.index("^") : len(carets)] == "stat"


# --- properties -----------------------------------------------------------------------------------------------------

texts = st.text(min_size=0, max_size=12)
values = st.builds(
    lambda text, form: {"exact": f'"{text}"', "prefix": f'"{text}"*', "contains": f'~"{text}"'}[form],
    texts.map(lambda text: text.replace("\\", "\\\\").replace('"', '\\"')),
    st.sampled_from(["exact", "prefix", "contains"]),
)
words = st.builds(
    lambda minus, name, held: f"{minus}{name}:{','.join(held)}",
    st.sampled_from(["", "-"]), st.sampled_from(["queue", "type", "label.k", 'label."odd key"', "batch", "error"]),
    st.lists(values, min_size=1, max_size=3),
)  # fmt: skip
limits = st.builds(
    lambda name, sign, seconds: f"{name}{sign}{seconds}s",
    st.sampled_from(["age", "run"]), st.sampled_from([">", "<", ">=", "<="]), st.integers(0, 10**6),
)  # fmt: skip
filters = st.lists(st.one_of(words, limits), max_size=4, unique_by=lambda text: text.lstrip("-").partition(":")[0])


@given(filters)
def test_what_was_read_is_written_so_that_it_reads_the_same(conditions: list[str]) -> None:
    read = parse_filter(" ".join(conditions))

    assert parse_filter(str(read)) == read
    assert len(read.conditions) == len(conditions)
    assert split_filter(str(read), now=NOW) == split_filter(read.text, now=NOW)


@given(st.text(alphabet=st.sampled_from('abelstqu:,.-~*"<>=\\ \n9h'), max_size=30))
def test_any_text_is_read_or_refused_at_a_place_within_it(text: str) -> None:
    try:
        read = parse_filter(text)
    except FilterInvalid as error:
        assert 0 <= error.span.start < error.span.end <= max(len(text), 1)  # noqa: PT017 - refused or not, either is fine
    else:
        assert parse_filter(str(read)) == read


@given(texts)
def test_a_quoted_text_comes_through_whole(text: str) -> None:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')

    split = split_filter(f'queue:"{escaped}"', now=NOW)

    assert list(split.condition.queues) == ([text] if text else [])
    assert split.keeps(job(queue=text))


def test_every_documented_example_of_a_field_is_read() -> None:
    for entry in FIELDS:
        assert split_filter(entry.example, now=NOW)
