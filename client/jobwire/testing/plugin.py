"""The pytest plugin: fixtures that come with the package. `-p no:jobwire` turns it off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from jobwire.app import App
    from jobwire.testing.engine import EngineProcess
    from jobwire.testing.kit import Jobwire


def pytest_addoption(parser: pytest.Parser) -> None:
    """See pytest."""
    parser.addini("jobwire_app", "MODULE:APP whose handlers jobwire.drain() runs", default="")


@pytest.fixture(scope="session")
def jobwire_engine() -> Iterator[EngineProcess]:
    """The process that the servers of all tests live in, one after another. Each worker of xdist has its own."""
    from jobwire.testing.engine import EngineProcess  # noqa: PLC0415 - pytest loads this module whatever is tested

    with EngineProcess() as engine:
        yield engine


@pytest.fixture
def jobwire_app(request: pytest.FixtureRequest) -> App | None:
    """The app whose handlers `jobwire.drain()` runs: that of the ini option `jobwire_app`. Override it as you like."""
    from jobwire.app import load_app  # noqa: PLC0415 - see above

    path = str(request.config.getini("jobwire_app"))
    return load_app(path) if path else None


@pytest.fixture
def jobwire(
    jobwire_engine: EngineProcess, jobwire_app: App | None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Jobwire]:
    """A server of the test's own: see `jobwire.testing.Jobwire`. JOBWIRE_ADDRESS leads to it until the test ends."""
    from jobwire.testing.kit import running  # noqa: PLC0415 - see above

    with running(*([jobwire_app] if jobwire_app is not None else []), engine=jobwire_engine) as kit:
        monkeypatch.setenv("JOBWIRE_ADDRESS", kit.address)
        yield kit
        left = kit.faults_left()
    if left:
        pytest.fail(f"Faults were arranged that did not happen: {', '.join(left)}.", pytrace=False)
