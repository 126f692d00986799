"""The submit verb: all submissions of a commit group at once.

Refusals are found before anything is written (which keys were seen, which ids are taken), so that the inserts cannot
fail for one job and take its neighbours along.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from jobwire_server.domain.errors import JobIdTaken, JobNotFound, JobwireError, QueueFull, RequestIdReused
from jobwire_server.domain.job import DEFAULT_RETRY_POLICY, Content, NewJob, State
from jobwire_server.store.base import Lane, Submission, SubmitReceipt, Submitted
from jobwire_server.store.rows import encode_retry, state_of
from jobwire_server.store.verbs.contents import Contents
from jobwire_server.store.verbs.intent import Intent, store_full
from jobwire_server.store.verbs.transaction import Transaction

_DEFAULT_ATTEMPTS: Final = DEFAULT_RETRY_POLICY.max_attempts
_NO_TIMES: Final = (None, None, None, None)
_STATE: Final = 2
_QUEUE: Final = 4
_TYPE: Final = 5
_DUE: Final = 7
_ID_CHOSEN: Final = 12
"""Where a row of `Group.rows` says it."""


class _Seen:
    """A request key that was used before: its fingerprint, jobs and batch."""

    __slots__ = ("batch_id", "count", "fingerprint", "first", "first_key")

    def __init__(self, fingerprint: bytes, first_key: int, count: int, batch_id: str, first: Submitted | None) -> None:
        self.fingerprint = fingerprint
        self.first_key = first_key
        self.count = count
        self.batch_id = batch_id
        self.first = first
        """The first job as it is now, None when it is gone."""


class Mark(NamedTuple):
    """How far a group had got, to go back to."""

    rows: int
    keys: int
    contents: tuple[int, ...]


class Group:
    """The rows to insert for one commit group, collected submission by submission; nothing is written before `insert`.

    `submissions` are those whose refusals it will be asked about.
    """

    def __init__(self, transaction: Transaction, submissions: Sequence[Submission]) -> None:
        self.transaction = transaction
        self.rows: list[list[Any]] = []
        self.keys: list[list[Any]] = []
        self.contents = Contents(transaction)
        self.plain = True
        """Whether no row has any of the rare fields, so that a shorter statement will do."""
        self.labelled = False
        self.base = transaction.revision
        self.seen: dict[tuple[str, str], _Seen] = {}
        self.taken: set[tuple[str, str]] = set()
        _look_up(self, submissions)

    def add(self, tenant: str, job: NewJob, batch_id: str) -> Submitted:
        """Add a job whose refusal has been ruled out."""
        (
            job_id, id_chosen, job_type, queue, priority, payload, schedule_us, expire_us, timeout_us, policy, labels,
            headers, retention_us, _, _,
        ) = job  # fmt: skip
        state, due_us = State.PENDING, self.transaction.now_us
        if schedule_us is not None and schedule_us > due_us:
            state, due_us = State.SCHEDULED, schedule_us
        key = self.base + len(self.rows) + 1
        form, size, offset, kind, encoding = self._place(key, payload)
        row: list[Any] = [
            tenant, job_id, state, _DEFAULT_ATTEMPTS if policy is None else policy.max_attempts, queue, job_type,
            priority, due_us, form, size, offset, kind or None, int(id_chosen), batch_id or None,
        ]  # fmt: skip
        times = (schedule_us, expire_us, timeout_us, retention_us)
        if labels or headers or policy or encoding or times != _NO_TIMES:
            row += (*times, encode_retry(policy), _json(labels), _json(headers), encoding or None)
            self.plain = False
            self.labelled = self.labelled or bool(labels)
        self.rows.append(row)
        if id_chosen:
            self.taken.add((tenant, job_id))
        return Submitted(job_id, True, state, key)

    def _place(self, key: int, payload: Content | None) -> tuple[int | None, int, int | None, str, str]:
        """Where the payload goes: form, size, offset in the blob (None when it stands apart), type, encoding."""
        if payload is None:
            return None, 0, None, "", ""
        data, kind, encoding, is_text = payload
        return int(is_text), len(data), self.contents.place(2 * key, payload), kind, encoding

    def remember(
        self, tenant: str, request_id: str, fingerprint: bytes, first: Submitted, count: int, batch: str
    ) -> None:
        """Record a request key, also for the rest of this group."""
        first_key = first.revision
        self.keys.append([tenant, request_id, fingerprint.hex(), first_key, count, batch or None])
        again = first._replace(created=False)
        self.seen[tenant, request_id] = _Seen(fingerprint, first_key, count, batch, again)

    def mark(self) -> Mark:
        """Where the group stands now."""
        return Mark(len(self.rows), len(self.keys), self.contents.mark())

    def undo(self, mark: Mark) -> None:
        """Forget what was added since `mark`."""
        for tenant, request_id, *_ in self.keys[mark.keys :]:
            del self.seen[tenant, request_id]
        self.taken.difference_update((row[0], row[1]) for row in self.rows[mark.rows :] if row[_ID_CHOSEN])
        del self.rows[mark.rows :], self.keys[mark.keys :]
        self.contents.undo(mark.contents)

    def insert(self) -> None:
        """Write everything that was collected: a statement per table, not per row."""
        if not self.rows:
            return
        transaction = self.transaction
        base = transaction.take_revisions(len(self.rows))
        statement = "insert_plain_jobs" if self.plain else "insert_jobs"
        rows, content = json.dumps(self.rows), self.contents.inline()
        transaction.run(statement, base=base, now=transaction.now_us, rows=rows, content=content)
        if self.labelled:
            transaction.run("insert_labels", base=base)
        self.contents.insert_apart()
        if self.keys:
            transaction.run("insert_request_keys", rows=json.dumps(self.keys), now=transaction.now_us)
        transaction.depth_change += len(self.rows)
        self._note()

    def _note(self) -> None:
        """Keep the notice in step."""
        pending = {(row[_QUEUE], row[_TYPE]) for row in self.rows if row[_STATE] is State.PENDING}
        self.transaction.pending.update(Lane(*lane) for lane in pending)
        for row in self.rows:
            if row[_STATE] is State.SCHEDULED:
                self.transaction.due_at(row[_DUE])


def submit(transaction: Transaction, intents: Sequence[Intent]) -> None:
    """Apply the submissions of a group, in order of arrival."""
    group = Group(transaction, [intent.argument for intent in intents])
    for intent in intents:
        submission: Submission = intent.argument
        if not submission.atomic:
            intent.answer = ([_submit_one(group, submission, job) for job in submission.jobs], "")
            continue
        try:
            intent.answer = submit_all(group, submission)
        except JobwireError as error:
            intent.answer = error
    group.insert()
    position = transaction.position()
    for intent in intents:
        if isinstance(intent.answer, tuple):
            answers, batch_id = intent.answer
            intent.answer = SubmitReceipt(answers, position, transaction.now_us, batch_id)


def _look_up(group: Group, submissions: Sequence[Submission]) -> None:
    """Find the request keys that were seen before and the chosen ids that are taken: a statement for each question."""
    requests = [(one.tenant, one.request_id) for one in submissions if one.request_id]
    requests += [(one.tenant, job.request_id) for one in submissions for job in one.jobs if job.request_id]
    chosen = [(one.tenant, job.job_id) for one in submissions for job in one.jobs if job.id_chosen]
    if requests:
        found = group.transaction.one("find_request_keys", rows=json.dumps(requests))
        for index, fingerprint, first_key, count, batch_id, job_id, state, revision in json.loads(found):
            first = None if job_id is None else Submitted(job_id, False, state_of(state), revision)
            group.seen[requests[index]] = _Seen(bytes.fromhex(fingerprint), first_key, count, batch_id or "", first)
    if chosen:
        found = group.transaction.one("find_taken_ids", rows=json.dumps(chosen), now=group.transaction.now_us)
        group.taken.update(chosen[index] for index in json.loads(found))


def _submit_one(group: Group, submission: Submission, job: NewJob) -> Submitted | JobwireError:
    tenant = submission.tenant
    if job.request_id:
        seen = group.seen.get((tenant, job.request_id))
        if seen is not None:
            return _found_one(seen, job)
    refusal = _refusal(group, tenant, job)
    if refusal is not None:
        return refusal
    submitted = group.add(tenant, job, submission.batch_id)
    if job.request_id:
        group.remember(tenant, job.request_id, job.fingerprint, submitted, 1, submission.batch_id)
    return submitted


def submit_all(group: Group, submission: Submission) -> tuple[Sequence[Submitted], str]:
    """Add all jobs of a submission, or raise the first refusal and add none; return their answers and batch id."""
    tenant = submission.tenant
    if submission.request_id:
        seen = group.seen.get((tenant, submission.request_id))
        if seen is not None:
            return _found_all(group, seen, submission), seen.batch_id
    mark = group.mark()
    answers: list[Submitted] = []
    for job in submission.jobs:
        answer = _submit_one(group, submission, job)
        if isinstance(answer, JobwireError):
            group.undo(mark)
            raise answer
        answers.append(answer)
    if submission.request_id:
        group.remember(
            tenant, submission.request_id, submission.fingerprint, answers[0], len(answers), submission.batch_id
        )
    return answers, submission.batch_id


def _found_one(seen: _Seen, job: NewJob) -> Submitted | JobwireError:
    if seen.fingerprint != job.fingerprint:
        return _reused(job.request_id)
    return seen.first or _gone(job.request_id)


def _found_all(group: Group, seen: _Seen, submission: Submission) -> Sequence[Submitted]:
    if seen.fingerprint != submission.fingerprint:
        raise _reused(submission.request_id)
    if seen.first_key > group.base:
        # The first call stands in this very group: its jobs are not in the table yet.
        rows = group.rows[seen.first_key - group.base - 1 :][: seen.count]
        return [Submitted(row[1], False, row[2], seen.first_key + index) for index, row in enumerate(rows)]
    found = group.transaction.one("find_key_range", first=seen.first_key, last=seen.first_key + seen.count - 1)
    jobs = [Submitted(job_id, False, state_of(state), revision) for job_id, state, revision in json.loads(found)]
    if len(jobs) < seen.count:
        raise _gone(submission.request_id)
    return jobs


def _refusal(group: Group, tenant: str, job: NewJob) -> JobwireError | None:
    if job.id_chosen and (tenant, job.job_id) in group.taken:
        return _taken(job.job_id)
    if group.transaction.full:
        return store_full()  # a call that was heard before is answered all the same: see above
    return queue_full(group.transaction, len(group.rows))


def queue_full(transaction: Transaction, ahead: int = 0) -> QueueFull | None:
    """The refusal of one more unfinished job, with `ahead` others about to be added, or None when it fits."""
    bound = transaction.settings.max_depth
    if not bound or transaction.unfinished() + ahead < bound:
        return None
    return QueueFull(
        f"The service holds {bound} unfinished jobs, as many as it may: try again when some have finished.",
        retry_after_us=1_000_000,
        limit=bound,
    )


def _taken(job_id: str) -> JobIdTaken:
    return JobIdTaken(
        f"The job id {job_id!r} is taken, or was within the last 30 days: choose another.", existing_job_id=job_id
    )


def _reused(request_id: str) -> RequestIdReused:
    return RequestIdReused(
        f"The request_id {request_id!r} was used before with other content: use a new one for a new request.",
        request_id=request_id,
    )


def _gone(request_id: str) -> JobNotFound:
    return JobNotFound(
        f"The request_id {request_id!r} created its job before, and the job has been deleted since.",
        request_id=request_id,
    )


def _json(mapping: Mapping[str, str] | None) -> str | None:
    return json.dumps(dict(mapping), ensure_ascii=False) if mapping else None
