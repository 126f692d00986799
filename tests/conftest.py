"""What holds for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator

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
