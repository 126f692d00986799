"""A toy service that keeps every promise, and the evidence it leaves: what the checker must accept."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace
from typing import Any

from jobwire_server.domain.job import TERMINAL_STATES, State
from jobwire_server.domain.lifecycle import TRANSITIONS
from jobwire_server.domain.lifecycle import Event as Why
from jobwire_server.store.base import EventKind
from tests.helpers.evidence import Evidence
from tests.helpers.history import Answer, Call, Effect, LateWrite, Moment, Outcome, Said, digest
from tests.helpers.image import Event, Image, Row

TYPE = "toy"
EPOCH = "epoch"
WORKER = "worker"
MORTAL = "mortal"
"""A worker that is killed, and started again, before it has spoken of a lease."""
LEASE_US = 1_000_000
LOST = json.dumps(["LEASE_LOST", "The worker's lease ended without an outcome."])
REPORTED = frozenset({Why.SUCCEED, Why.RETRY, Why.EXHAUST, Why.RELEASE, Why.SNOOZE, Why.STOP})
RUN_OUT = frozenset({Why.LOSE, Why.LOSE_LAST})


@dataclass
class SoundWorld:
    """Moves toy jobs along the table, and writes down what clients, watches and handlers would."""

    seed: int
    chance: random.Random = field(init=False)
    revision: int = 0
    ticks: int = 0
    events: list[Event] = field(default_factory=list)
    rows: dict[int, Row] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    watched: int | None = None
    answers: list[Answer] = field(default_factory=list)
    late_writes: list[LateWrite] = field(default_factory=list)
    silent_since: dict[int, int] = field(default_factory=dict)
    """When the lease of a job was given to the mortal worker, by key."""
    killed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def live(self, steps: int = 60) -> Evidence:
        """Let `steps` things happen, with a death now and then, then bring everything to its end."""
        actions = [self.submit, self.submit, self.advance, self.advance, self.advance, self.read, self.watch]
        for _ in range(steps):
            self.chance.choice(actions)()
            if self.chance.random() < 0.05:
                self.die()
        self.die()
        while unfinished := [key for key, row in self.rows.items() if row.state not in TERMINAL_STATES]:
            self.move(self.chance.choice(unfinished))
        self.submit_in_vain()
        self.read()
        self.watch()
        self.watch_one()
        self.images.append(self.image())
        return Evidence(
            calls=list(self.calls),
            images=list(self.images),
            effects=list(self.effects),
            logged_types=frozenset({TYPE}),
            answers=list(self.answers),
            late_writes=list(self.late_writes),
            lease_us=LEASE_US,
            killed_us={MORTAL: self.killed} if self.killed else {},
        )

    # --- what happens -----------------------------------------------------------------------------------------

    def submit(self) -> None:
        """A submit whose answer may be lost; then it is repeated."""
        number = len(self.calls)
        payload = json.dumps({"n": number}).encode()
        args = {"request_id": f"request-{number}", "payloads": [digest(payload)], "types": [TYPE]}
        invoked = self.now()
        self.revision += 1
        key, job_id = self.revision, f"job-{self.revision}"
        state = self.chance.choice([State.PENDING, State.SCHEDULED])
        row = Row(key, job_id, TYPE, state, key, 1, 0, 20, 0, payload, None, "")
        self.store(row, EventKind.CREATED, previous=None)
        lost = self.chance.random() < 0.2
        if lost:
            self.note("submit", args, invoked, Outcome.UNKNOWN, {})
            invoked = self.now()
        value = {"job_ids": [job_id], "created": [not lost], "seen": [[job_id, key, int(state)]]}
        self.note("submit", args, invoked, Outcome.OK, value)

    def submit_in_vain(self) -> None:
        """A submit that is refused."""
        args = {"request_id": "refused", "payloads": [digest(b"refused")], "types": [TYPE]}
        self.note("submit", args, self.now(), Outcome.REFUSED, {"reason": "FIELD_INVALID"})

    def advance(self) -> None:
        """One step of one job."""
        alive = [key for key, row in self.rows.items() if row.state not in TERMINAL_STATES]
        if alive:
            self.move(self.chance.choice(alive))

    def move(self, key: int) -> None:
        """Take any step that the table allows while the server lives."""
        row = self.rows[key]
        why = self.chance.choice(allowed(row))
        if why is Why.SUCCEED:
            self.act(row, Moment.END)
        asked = self.now()
        silent = self.silent_since.pop(key, None)
        if why is Why.LEASE and self.chance.random() < 0.2:
            self.silent_since[key] = asked
        if why in RUN_OUT:
            self.pass_the_lease(asked, silent)
        after = self.step(row, why, error=LOST if why in RUN_OUT else None)
        if why is Why.LEASE:
            self.begin(after)
        elif why in REPORTED:
            self.answer(row, Said.OUTCOME, asked, stands=True)
        elif why in RUN_OUT and silent is None:
            self.come_too_late(row, after)

    def begin(self, row: Row) -> None:
        """A worker begins, and says so unless it dies before."""
        self.act(row, Moment.START)
        if row.key not in self.silent_since:
            self.answer(row, Said.BEAT, self.now(), stands=True)

    def pass_the_lease(self, now: int, silent_since: int | None) -> None:
        """Bring about that a lease is over: its time, or the death of a worker that has not spoken of it."""
        if silent_since is not None and now < silent_since + LEASE_US:
            self.killed.append(now)
        else:
            self.ticks += LEASE_US

    def come_too_late(self, row: Row, after: Row) -> None:
        """The worker whose lease ran out wakes up, and is told so."""
        self.answer(row, Said.BEAT, self.now(), stands=False)
        self.answer(row, Said.OUTCOME, self.now(), stands=False)
        self.late_writes.append(LateWrite(row.job_id, row.fence, after.digest, after.digest))

    def step(self, row: Row, why: Why, error: str | None = None) -> Row:
        """Write one step of the table."""
        to, attempt_step, fence_step = TRANSITIONS[State(row.state)][why]
        self.revision += 1
        result = json.dumps({"fence": row.fence}).encode() if why is Why.SUCCEED else row.result
        after = row._replace(
            state=to, revision=self.revision, sequence=row.sequence + 1, attempt=row.attempt + attempt_step,
            fence=row.fence + fence_step, result=result,
            progress_message=f"fence {row.fence + 1}" if why is Why.LEASE else row.progress_message,
        )  # fmt: skip
        self.store(after, EventKind.UPDATED, previous=row.state, error=error)
        return self.rows[row.key]

    def act(self, row: Row, moment: Moment) -> None:
        """A handler writes a line."""
        self.effects.append(Effect(row.job_id, row.attempt, row.fence, 1, moment, self.now()))

    def answer(self, row: Row, said: Said, asked: int, *, stands: bool) -> None:
        """A worker writes down what it was told."""
        self.answers.append(Answer(WORKER, row.job_id, row.fence, said, asked, self.now(), stands))

    def die(self) -> None:
        """The server dies and recovers; nothing is leased before that is done."""
        self.images.append(self.image())
        for row in list(self.rows.values()):
            if row.state == State.PROCESSING:
                self.step(row, Why.RECOVER if row.attempt < row.max_attempts else Why.LOSE_LAST)

    def read(self) -> None:
        """Somebody reads a job."""
        if self.rows:
            row = self.rows[self.chance.choice(sorted(self.rows))]
            seen = [[row.job_id, row.revision, int(row.state)]]
            self.note("get", {"job_id": row.job_id}, self.now(), Outcome.OK, {"seen": seen})

    def watch(self) -> None:
        """A watch that is cut after each response: it resumes where it was."""
        after = self.watched
        start = self.revision if after is None else after
        events = [
            [event.revision, event.kind, event.job_id, event.state, event.attempt]
            for event in self.events
            if event.revision > start
        ]
        value = {"events": events, "cursor": self.revision}
        self.note("watch", {"lineage": "w", "after": after, "types": []}, self.now(), Outcome.OK, value)
        self.watched = self.revision

    def watch_one(self) -> None:
        """A watch of one job until its end."""
        if self.rows:
            row = self.rows[self.chance.choice(sorted(self.rows))]
            seen = [[e.job_id, e.revision, int(e.state)] for e in self.events if e.key == row.key]
            self.note("watch-job", {"job_id": row.job_id}, 0, Outcome.OK, {"seen": seen})

    # --- how it is written down -------------------------------------------------------------------------------------

    def store(self, row: Row, kind: EventKind, previous: int | None, error: str | None = None) -> None:
        """The row and its event, together."""
        self.rows[row.key] = sealed(row)
        event = Event(
            row.revision, row.key, row.job_id, row.type, row.sequence, kind, previous, row.state, row.attempt,
            row.max_attempts, row.fence, error, self.now(), MORTAL if row.key in self.silent_since else WORKER,
        )  # fmt: skip
        self.events.append(event)

    def image(self) -> Image:
        """What stands on disk now."""
        return Image(epoch=EPOCH, compacted=0, events=list(self.events), rows=dict(self.rows))

    def note(self, op: str, args: dict[str, Any], invoked: int, outcome: Outcome, value: dict[str, Any]) -> None:
        """A client writes a call down, as it would come back from the file."""
        call = Call("client", op, args, invoked, self.now(), outcome, value)
        self.calls.append(replace(call, args=json.loads(json.dumps(args)), value=json.loads(json.dumps(value))))

    def now(self) -> int:
        """Time that only grows."""
        self.ticks += 1
        return self.ticks


def allowed(row: Row) -> list[Why]:
    """Steps that the table allows while the server lives."""
    steps = [why for why in TRANSITIONS[State(row.state)] if why is not Why.RECOVER]
    return steps if row.attempt < row.max_attempts else [why for why in steps if why is not Why.LEASE]


def sealed(row: Row) -> Row:
    """The row with the digest of its content."""
    return row._replace(digest=digest(repr(row._replace(digest="")).encode()))
