"""A worker for typed jobs that goes on where it left off.

    jobwire dev                          # in one terminal
    python examples/python_worker.py     # in another; or: jobwire work examples.python_worker:app
    jobwire run numbers.sum -d '{"start": 1, "end": 1000, "pace_seconds": 0.2}'

Stop the worker in the middle (Ctrl+C, twice if you are in a hurry) and start it again: the sum goes on where it was,
and no attempt is used up.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from jobwire import App, Fail, JobContext

app = App("numbers")


@dataclass
class Range:
    start: int
    end: int
    pace_seconds: float = 0.0


@dataclass
class Place:
    """Where a sum stands."""

    next: int
    total: int


@app.job("numbers.sum", timeout="1h")
def add_up(ctx: JobContext, numbers: Range) -> dict[str, int]:
    """Add up a range, ten numbers at a time. Anything but a Range fails before it comes here."""
    if numbers.end < numbers.start:
        raise Fail(f"{numbers.start} is above {numbers.end}")  # no other attempt will help
    place = ctx.last_checkpoint_as(Place) or Place(next=numbers.start, total=0)
    while place.next <= numbers.end:
        step = range(place.next, min(place.next + 10, numbers.end + 1))
        place = Place(next=step.stop, total=place.total + sum(step))
        ctx.checkpoint(place)  # the next attempt begins here
        ctx.progress(place.next - numbers.start, total=numbers.end - numbers.start + 1)
        ctx.check()  # raises when the job was cancelled, or the worker's grace is over
        time.sleep(numbers.pace_seconds)
    ctx.follow_up(
        announce, f"{numbers.start} to {numbers.end}", place.total
    )  # created with this success, or not at all
    return {"total": place.total}


@app.job("numbers.announce")
async def announce(what: str, total: int) -> str:
    """Say it."""
    return f"The sum of {what} is {total}."


if __name__ == "__main__":
    app.run(slots=4)
