"""Checkpoints on their way to the server, and never behind the outcome that the next attempt starts from."""

from __future__ import annotations

import asyncio

import pytest

from jobwire.app import App, Fail, Snooze, current_job
from jobwire.payload import Payload
from jobwire.worker.runtime import RuntimeSettings
from jobwire.worker.transport import Failure, Release, Success
from tests.helpers.clock import ManualClock
from tests.helpers.scripted_transport import ScriptedTransport
from tests.worker.support import Gate, settled, until, working

pytestmark = pytest.mark.asyncio


def save(place: int) -> None:
    """What `JobContext` does for a handler."""
    current_job()._attempt.save(Payload(str(place).encode()))


def saved(server: ScriptedTransport, token: int) -> list[int]:
    """Checkpoints that the server was sent for this lease."""
    return [
        int(update.checkpoint.data)
        for updates in server.updates
        for update in updates
        if update.token == token and update.checkpoint is not None
    ]


async def test_a_checkpoint_is_sent_soon_and_once() -> None:
    app, gate, clock = App("test"), Gate(), ManualClock()

    @app.job("it")
    def it() -> None:
        for place in range(1000):
            save(place)
        gate.wait()

    with gate:
        async with working(app, clock=clock) as worker:
            token = worker.server.offer("it")
            await gate.arrived()
            while 999 not in saved(worker.server, token):
                clock.advance(0.1)
                await asyncio.sleep(0)
            sent = saved(worker.server, token)
            assert sent == sorted(set(sent))
            assert len(sent) < 10
            beats = len(worker.server.updates)
            while len(worker.server.updates) < beats + 2:
                clock.advance(10)
                await settled()
            assert saved(worker.server, token) == sent


@pytest.mark.parametrize("ending", [Fail("no"), Snooze("1h"), ValueError("again")])
async def test_an_outcome_waits_for_the_checkpoint_that_the_next_attempt_starts_from(ending: Exception) -> None:
    app, server = App("test"), ScriptedTransport()
    order: list[str] = []
    server.before_report = lambda: order.append("outcome")
    server.before_update = lambda: order.append("checkpoint")

    @app.job("it")
    def it() -> None:
        save(7)
        raise ending

    app.job("first")(lambda: current_job().progress(1))
    async with working(app, server=server, settings=RuntimeSettings(progress_seconds=1e6)):
        await server.outcome(server.offer("first"))
        await server.until(lambda: bool(server.updates))
        await settled()  # from now on progress is passed on too seldom to do the work
        order.clear()
        token = server.offer("it")
        assert isinstance(await server.outcome(token), Failure | Release)
        assert saved(server, token) == [7]
        assert order == ["checkpoint", "outcome"]


async def test_a_success_does_not_wait_for_a_checkpoint_that_nobody_will_read() -> None:
    app, server = App("test"), ScriptedTransport()

    def fail() -> None:
        raise ConnectionError("cut")

    server.before_update = fail
    app.job("it")(lambda: save(7))
    async with working(app, server=server) as worker:
        assert await worker.server.outcome(server.offer("it")) == Success()


async def test_a_checkpoint_that_could_not_be_sent_goes_before_the_outcome_when_the_server_is_back() -> None:
    app, gate, clock, server = App("test"), Gate(), ManualClock(), ScriptedTransport()
    tries = 0
    broken = True

    def fail() -> None:
        nonlocal tries
        tries += 1
        if broken:
            raise ConnectionError("cut")

    server.before_update = server.before_report = fail

    @app.job("it")
    def it() -> None:
        save(7)
        gate.wait()
        raise ValueError("again")

    with gate:
        async with working(app, clock=clock, server=server):
            token = server.offer("it")
            await gate.arrived()
            await until(lambda: tries >= 1)
            gate.open()
            await until(lambda: tries >= 2)
            assert token not in server.outcomes
            broken = False
            while token not in server.outcomes:
                clock.advance(0.1)
                await asyncio.sleep(0)
            assert saved(server, token)[-1] == 7
