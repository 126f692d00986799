"""What holds for every test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from tests.helpers.postgres import PostgresServer

# A machine that is busy with other things is no reason to fail.
settings.register_profile("jobwire", deadline=None)
settings.load_profile("jobwire")

# Nor is what the person who runs the tests has chosen for other servers: contexts are an empty file here.
os.environ["JOBWIRE_CONTEXTS"] = os.devnull


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of our own, one for each test process; started when the first test asks for it."""
    server = PostgresServer()
    yield server
    server.stop()


NOT_RUN = "not run: "
"""Begins the reason of a test that needs what the project's own files cannot install."""


@pytest.fixture
def pgbouncer() -> str:
    """The program of a pooler."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{NOT_RUN}no pooler is installed (apt-get install pgbouncer)")
    return found


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Name what did not run, also to those who do not ask."""
    reasons = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", []) if report.longrepr]
    for reason in sorted({reason for reason in reasons if NOT_RUN in reason}):
        terminalreporter.write_line(f"{reasons.count(reason)} {NOT_RUN}{reason.partition(NOT_RUN)[2]}")
