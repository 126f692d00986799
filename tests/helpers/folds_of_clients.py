"""Promises made to clients: what they were told must be so, stay so, and come in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobwire_server.domain.job import TERMINAL_STATES
from jobwire_server.store.base import EventKind
from tests.helpers.evidence import Evidence
from tests.helpers.history import Call, Outcome, Seen, digest


def lost_jobs(evidence: Evidence) -> Iterator[str]:
    """A job whose submit was answered OK exists, unless somebody asked to delete it."""
    deletable = _asked_to_delete(evidence)
    present = {row.job_id: row for row in evidence.final.rows.values()}
    for call in _submits(evidence, Outcome.OK):
        for job_id, content in zip(call.value["job_ids"], call.args["payloads"], strict=True):
            row = present.get(job_id)
            if row is None and job_id not in deletable:
                yield f"job {job_id} was acknowledged ({call.args['request_id']}) and is not there"
            if row is not None and digest(row.payload) != content:
                yield f"job {job_id} holds another payload than the one acknowledged ({call.args['request_id']})"


def phantoms(evidence: Evidence) -> Iterator[str]:
    """Every job comes from a submit that was not refused for good, with the same bytes and type."""
    submitted = _contents(evidence)
    for row in evidence.final.rows.values():
        types = submitted.get(digest(row.payload))
        if types is None:
            yield f"job {row.job_id} holds a payload that nobody submitted, or only calls that were refused"
        elif row.type not in types:
            yield f"job {row.job_id} is of type {row.type}, submitted as {types}"
    deletable = _asked_to_delete(evidence)
    for life in evidence.lives.values():
        if life[-1].kind == EventKind.DELETED and life[-1].job_id not in deletable:
            yield f"job {life[-1].job_id} was deleted, which nobody asked for"


def doubled_submissions(evidence: Evidence) -> Iterator[str]:
    """However often a submission was repeated, its jobs exist once, and every OK named the same ones, as new once."""
    owners: dict[str, str] = {}
    for row in evidence.final.rows.values():
        first = owners.setdefault(digest(row.payload), row.job_id)
        if first != row.job_id:
            yield f"jobs {first} and {row.job_id} come from one submission"
    answers: dict[str, Call] = {}
    created: set[str] = set()
    for call in _submits(evidence, Outcome.OK):
        key = call.args["request_id"]
        first_answer = answers.setdefault(key, call)
        if first_answer.value["job_ids"] != call.value["job_ids"]:
            yield f"{key} was answered with {first_answer.value['job_ids']} and with {call.value['job_ids']}"
        if any(call.value["created"]) and key in created:
            yield f"{key} was said to be created twice"
        created |= {key} if any(call.value["created"]) else set()


def undone_sights(evidence: Evidence) -> Iterator[str]:
    """Every state that somebody was shown stands in the log at its revision: nothing shown was undone."""
    log = {event.revision: event for event in evidence.final.events}
    for call in evidence.calls:
        for seen in sights(call):
            event = log.get(seen.revision)
            if event is None or (event.job_id, event.state) != (seen.job_id, seen.state):
                yield f"{call.process} was shown {seen} by {call.op}, the log says {event}"


def stale_sights(evidence: Evidence) -> Iterator[str]:
    """A call that began after another had answered is shown nothing older of a job; what it created is newer."""
    for call, known, newest in _with_what_was_known(evidence.calls):
        if call.op == "watch":
            continue  # a watch tells history: its order is judged on its own
        for seen in sights(call):
            if seen.revision < known[seen.job_id]:
                yield f"{call.process} was shown {seen} by {call.op}, after revision {known[seen.job_id]} was known"
        born = _born_by(evidence, call)
        if born is not None and born <= newest:
            yield f"{call.args['request_id']} began after revision {newest} was known, and made {born}"


def _with_what_was_known(calls: Sequence[Call]) -> Iterator[tuple[Call, Mapping[str, int], int]]:
    """Each call by its start, with the newest revision of each job (and of all) that had been shown by then."""
    returned = sorted(calls, key=lambda call: call.return_ns)
    position, newest = 0, 0
    known: dict[str, int] = defaultdict(int)
    for call in sorted(calls, key=lambda call: call.invoke_ns):
        while position < len(returned) and returned[position].return_ns < call.invoke_ns:
            for seen in sights(returned[position]):
                known[seen.job_id] = max(known[seen.job_id], seen.revision)
                newest = max(newest, seen.revision)
            position += 1
        yield call, known, newest


def _born_by(evidence: Evidence, call: Call) -> int | None:
    """The first revision that a call created, as far as its answer says."""
    if call.op != "submit" or call.outcome is not Outcome.OK or not all(call.value["created"]):
        return None
    return min((evidence.keys[job_id] for job_id in call.value["job_ids"] if job_id in evidence.keys), default=None)


def broken_watches(evidence: Evidence) -> Iterator[str]:
    """The responses of a watch, cut and resumed as often as may be, are the log: each matching event once, in order.

    Each response holds every matching event between the cursor before it and its own.
    """
    lineages: dict[str, list[Call]] = defaultdict(list)
    for call in evidence.calls:
        if call.op == "watch":
            lineages[call.args["lineage"]].append(call)
    for lineage, responses in lineages.items():
        yield from _broken_lineage(evidence, lineage, responses)


def _broken_lineage(evidence: Evidence, lineage: str, responses: Sequence[Call]) -> Iterator[str]:
    position: int | None = responses[0].args["after"]
    index = 0
    wanted = set(responses[0].args["types"])
    log = [event for event in evidence.final.events if not wanted or event.type in wanted]
    for response in responses:
        cursor, got = response.value["cursor"], [tuple(event) for event in response.value["events"]]
        if position is None:
            position = cursor if not got else got[0][0] - 1
        if cursor < position:
            yield f"{lineage}: its cursor fell from {position} to {cursor}"
            return
        while index < len(log) and log[index].revision <= position:
            index += 1
        due = []
        while index < len(log) and log[index].revision <= cursor:
            event = log[index]
            due.append((event.revision, event.kind, event.job_id, event.state, event.attempt))
            index += 1
        if got != due:
            missing, strange = sorted(set(due) - set(got)), sorted(set(got) - set(due))
            yield f"{lineage} in ({position}, {cursor}]: missing {missing[:3]}, not due {strange[:3]}, or disorder"
            return
        position = cursor


def unfinished_watches(evidence: Evidence) -> Iterator[str]:
    """A watch of one job that ended with OK had shown a terminal state last."""
    for call in evidence.calls:
        if call.op == "watch-job" and call.outcome is Outcome.OK:
            states = [seen.state for seen in sights(call)]
            if not states or states[-1] not in TERMINAL_STATES:
                yield f"{call.process}: the watch of {call.args['job_id']} ended with {states}"
            revisions = [seen.revision for seen in sights(call)]
            if revisions != sorted(set(revisions)):
                yield f"{call.process}: the watch of {call.args['job_id']} repeats or goes back: {revisions}"


def sights(call: Call) -> list[Seen]:
    """States that the answer of a call showed."""
    if call.op == "watch":
        return [Seen(job_id, revision, state) for revision, _, job_id, state, _ in call.value["events"]]
    return [Seen(*seen) for seen in call.value.get("seen", ())]


def _submits(evidence: Evidence, outcome: Outcome) -> Iterator[Call]:
    return (call for call in evidence.calls if call.op == "submit" and call.outcome is outcome)


def _asked_to_delete(evidence: Evidence) -> set[str]:
    return {
        call.args["job_id"] for call in evidence.calls if call.op == "delete" and call.outcome is not Outcome.REFUSED
    }


def _contents(evidence: Evidence) -> Mapping[str, set[Any]]:
    contents: dict[str, set[Any]] = defaultdict(set)
    for call in evidence.calls:
        if call.op == "submit" and call.outcome is not Outcome.REFUSED:
            for content, kind in zip(call.args["payloads"], call.args["types"], strict=True):
                contents[content].add(kind)
    return contents
