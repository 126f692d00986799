"""The process of the engine: it ends with its tests, and says what is wrong with it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys

import psutil
import pytest

from jobwire import App, Client, Unavailable
from jobwire.testing import EngineFailed, EngineProcess, Jobwire, running

PROGRAM = """
import os, signal
from jobwire.testing import EngineProcess
engine = EngineProcess()
engine.ask("begin")
print(engine._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_ends_when_its_tests_are_killed() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=50, check=False)
    assert ended.returncode == -signal.SIGKILL
    with contextlib.suppress(psutil.NoSuchProcess):  # it has ended already
        psutil.Process(int(ended.stdout)).wait(30)


def test_one_engine_serves_one_test_after_another_and_the_last_ones_are_gone(jobwire_engine: EngineProcess) -> None:
    addresses = []
    for _ in range(3):
        with running(engine=jobwire_engine) as kit:
            addresses.append(kit.address)
            kit.client.submit("t")
            assert len(kit.submitted()) == 1
    assert len(set(addresses)) == 3
    with Client(addresses[0], tries=1) as client, pytest.raises(Unavailable):
        client.submit("t", deadline="2s")


def test_an_engine_of_ones_own_can_be_closed_and_asked_again() -> None:
    engine = EngineProcess()
    try:
        first = engine.ask("begin")["address"]
        engine.close()
        engine.close()
        assert engine.ask("begin")["address"] != first
    finally:
        engine.close()


def test_a_process_that_died_is_named_as_the_reason() -> None:
    with EngineProcess() as engine:
        engine.ask("begin")
        assert engine._process is not None
        engine._process.kill()
        engine._process.wait()
        with pytest.raises(EngineFailed, match="process of the engine has ended"):
            engine.ask("begin")


def test_what_it_cannot_do_is_refused_with_a_sentence(jobwire_engine: EngineProcess) -> None:
    with pytest.raises(EngineFailed, match="cannot 'dance'"):
        jobwire_engine.ask("dance")
    jobwire_engine.ask("end")
    with pytest.raises(EngineFailed, match="begin one first"):
        jobwire_engine.ask("advance", seconds=1)


def test_a_durations_mistake_is_told_before_the_engine_is_asked(jobwire: Jobwire) -> None:
    with pytest.raises(ValueError, match="duration"):
        jobwire.advance("soon")
    with pytest.raises(ValueError, match="between 0 and 100 years"):
        jobwire.advance(-1)


def test_an_app_that_was_connected_elsewhere_is_so_again_afterwards(jobwire_engine: EngineProcess) -> None:
    app = App("mine")

    @app.job("t")
    def handler() -> None:
        """Nothing."""

    with running(app, engine=jobwire_engine) as outer:
        with running(app, engine=jobwire_engine) as inner:
            assert app.client.settings.address == inner.address
        assert app.client.settings.address == outer.address
