"""docs/reference/state-machine.md: the diagram and the table of `domain/lifecycle.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from jobwire_server.domain.job import TERMINAL_STATES, State
from jobwire_server.domain.lifecycle import INITIAL_STATES, POISON_LOSSES, TRANSITIONS, Event
from tools.markdown import generated_from, table

_INTRODUCTION: Final = """\
# States and transitions

Every change of a job's state, recovery included, is one of the transitions below. They stand in one table of data,
`TRANSITIONS` in `server/jobwire_server/domain/lifecycle.py`; the diagram and the table here are drawn from it, and the
triggers of the database refuse every pair of states that is not there."""

_STATES: Final[Mapping[State, str]] = {
    State.SCHEDULED: "Not due yet: waits for its `schedule_time`, or for the delay that its handler asked for.",
    State.BLOCKED: "Waits for other jobs. Nothing puts a job there yet.",
    State.PENDING: "May be leased now.",
    State.PROCESSING: "Leased to a worker.",
    State.RETRYING: "An attempt failed or its lease was lost; waits for its backoff.",
    State.COMPLETED: "Finished well. Nothing leads on from here.",
    State.FAILED: "Attempts used up, or not to be retried: the dead-letter set.",
    State.CANCELLED: "Cancelled by a client, or by its own handler.",
    State.EXPIRED: "Its `expire_time` passed before it finished.",
}

_EVENTS: Final[Mapping[Event, str]] = {
    Event.DUE: "Its time has come: `schedule_time`, the snooze or the backoff is over.",
    Event.UNBLOCK: "The jobs it waits for have ended.",
    Event.LEASE: "The dispatcher leases it to a worker. Attempt and fence are counted before the handler starts.",
    Event.SUCCEED: "The worker reports success.",
    Event.RETRY: "The worker reports a failure, attempts are left and a retry is not ruled out.",
    Event.EXHAUST: "The worker reports a failure that is the last: no attempt is left, or a retry is ruled out.",
    Event.RELEASE: "Given back unfinished, or never delivered. The attempt is not counted.",
    Event.SNOOZE: "The handler asks to be called again later. The attempt is not counted.",
    Event.STOP: "The handler obeyed a cancel, cancelled its own job, or ended without success under a cancel wish.",
    Event.LAPSE: "The worker ended the attempt without success, and the job has expired meanwhile.",
    Event.LOSE: "The lease ended without an outcome while the server lived; attempts are left.",
    Event.LOSE_LAST: (
        "The lease ended without an outcome and no attempt is left (`LEASE_LOST`), or it was the "
        f"last of {POISON_LOSSES} that were lost in a row while the server lived (`POISONED`), or the row could not be "
        "put back (`RECOVERY_FAILED`)."
    ),
    Event.RECOVER: "Recovery at start-up found the lease of a dead incarnation, or one that had ended.",
    Event.CANCEL: "CancelJob.",
    Event.EXPIRE: "Its `expire_time` has passed.",
    Event.REQUEUE: "RetryJob: back at once, with fresh attempts.",
    Event.REQUEUE_LATER: "RetryJob with a `schedule_time` that lies ahead.",
}

_WHILE_PROCESSING: Final[Mapping[Event, str]] = {
    Event.CANCEL: "CancelJob by force, or the lease is lost under a cancel wish.",
    Event.EXPIRE: "The lease is lost, and the `expire_time` has passed.",
}

_NOTES: Final = """\
## Counters

- **attempt** is counted when the job is leased, before its handler starts, so that a crash has been paid for. It falls
  only by a release or a snooze, by one.
- **fence** rises by one with each lease, and wherever an earlier holder may still be writing. It never falls. The pair
  (job, fence) names one run for ever: a report with another fence than the current one changes nothing.
- A success that is committed first wins over a cancel wish and over an expiry. Any other end of an attempt under a
  cancel wish cancels the job, and one past its `expire_time` expires it.

What an outcome does to a running job is decided by `decide` in the same file, from the attempt's facts and a random
number for the backoff; the store reads those facts in the transaction that applies the decision
([ADR 0009](../adr/0009-reports-are-decided-inside-the-transaction.md))."""


def render() -> str:
    """Return the page."""
    blocks = [
        generated_from("`domain/lifecycle.py`"),
        _INTRODUCTION,
        _diagram(),
        "## States",
        table(("State", "No.", "Terminal", "Meaning"), _state_rows()),
        "## Transitions",
        table(("From", "Event", "To", "Attempt", "Fence", "When"), _transition_rows()),
        _NOTES,
    ]
    return "\n\n".join(blocks) + "\n"


def _diagram() -> str:
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    [*] --> {state.name}" for state in State if state in INITIAL_STATES]
    for state in State:
        labels: dict[State, list[str]] = {}
        for event, step in TRANSITIONS[state].items():
            labels.setdefault(step.to, []).append(event.value)
        lines += [f"    {state.name} --> {to.name}: {', '.join(events)}" for to, events in labels.items()]
    lines += [f"    {state.name} --> [*]" for state in State if state in TERMINAL_STATES]
    return "\n".join([*lines, "```"])


def _state_rows() -> Iterator[tuple[str, ...]]:
    for state in State:
        yield state.name, str(state.value), "yes" if state in TERMINAL_STATES else "", _STATES[state]


def _transition_rows() -> Iterator[tuple[str, ...]]:
    for state in State:
        for event, step in TRANSITIONS[state].items():
            when = _EVENTS[event]
            if state is State.PROCESSING:
                when = _WHILE_PROCESSING.get(event, when)
            yield state.name, event.value, step.to.name, _signed(step.attempt), _signed(step.fence), when


def _signed(change: int) -> str:
    return f"{change:+d}" if change else ""
