"""Seeds, scale, and what a campaign says at the end."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

SEED_VARIABLE: Final = "SEED"
PROPERTY: Final = "campaign"


def _number(name: str, default: int) -> int:
    return int(os.environ.get(name) or default)


@pytest.fixture
def scale() -> int:
    """SCALE=n: how many times the size of a run in CI."""
    return _number("SCALE", 1)


@pytest.fixture
def kills(scale: int) -> int:
    """KILLS=n: kills in the main campaign."""
    return _number("KILLS", 60 * scale)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """SEED=n: repeats the choices of a run; chance otherwise."""
    chosen = _number(SEED_VARIABLE, secrets.randbits(32))
    request.node.user_properties.append(("seed", chosen))
    return chosen


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Show a text in the summary of the run, also when all is well."""
    return lambda text: record_property(PROPERTY, text)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    report = yield
    seed = dict(item.user_properties).get("seed")
    if report.failed and seed is not None:
        settings = " ".join(f"{name}={os.environ[name]}" for name in ("SCALE", "KILLS") if os.environ.get(name))
        command = f"{SEED_VARIABLE}={seed} {settings} .venv/bin/python -m pytest '{item.nodeid}'"
        report.sections.append(("REPRO", f"REPRO: {command}"))
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what campaigns told, by test."""
    for reports in list(terminalreporter.stats.values()):
        for report in reports:
            properties = getattr(report, "user_properties", [])
            told = [text for name, text in properties if name == PROPERTY]
            if told and getattr(report, "when", "") == "call":
                terminalreporter.section(report.nodeid, sep="-")
                terminalreporter.write_line(f"seed {dict(properties).get('seed')}")
                for text in told:
                    terminalreporter.write_line(str(text))
