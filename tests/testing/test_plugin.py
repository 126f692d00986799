"""The pytest plugin, in a project of somebody else: sync and async tests, two runners of those, xdist, no leaks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

JOBS = """
from jobwire import App

app = App("project")

@app.job("add")
def add(a: int, b: int) -> int:
    return a + b
"""
INI = """
[pytest]
jobwire_app = project_jobs:app
filterwarnings = error
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
"""


class Project:
    """A folder with tests of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.write("project_jobs.py", JOBS)
        self.write("pytest.ini", INI)

    def write(self, name: str, text: str) -> None:
        """Put a file there."""
        (self._folder / name).write_text(text, encoding="utf-8")

    def pytest(self, *arguments: str) -> tuple[int, str]:
        """Run its tests. Returns exit code and output."""
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            cwd=self._folder,
            env={**os.environ, "PYTHONPATH": str(self._folder)},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        return ran.returncode, ran.stdout + ran.stderr


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


SYNC = """
import os
import threading

def test_one(jobwire):
    job = jobwire.client.submit("add", {"a": 1, "b": 2})
    assert jobwire.drain().succeeded == 1
    assert job.result(timeout="5s") == 3
    assert os.environ["JOBWIRE_ADDRESS"] == jobwire.address

def test_the_next_one_starts_empty(jobwire):
    assert jobwire.submitted() == []
    jobwire.refute_submitted("add")

def test_afterwards_nothing_is_left():
    assert "JOBWIRE_ADDRESS" not in os.environ
    assert not [t.name for t in threading.enumerate() if t.name.startswith("jobwire")]
"""


def test_two_processes_of_xdist_do_not_meet(project: Project) -> None:
    for name in ("a", "b"):
        project.write(f"test_{name}.py", SYNC)
    code, output = project.pytest("-q", "-n", "2", "--dist", "loadfile")
    assert (code, "6 passed" in output) == (0, True), output


ASYNC = """
{mark}
async def test_the_tests_own_loop_is_used_by_its_clients(jobwire):
    async with jobwire.async_client() as client:
        job = await client.submit("add", [1, 2])
        assert (await jobwire.adrain()).succeeded == 1
        assert await job.result(timeout="5s") == 3
        later = await client.submit("add", [3, 4], delay="1h")
        await jobwire.aadvance("1h")
        done = await jobwire.adrain()
        assert done.succeeded == 1, done
        jobwire.assert_submitted("add", a=3)
        updates = [update.state async for update in later.watch()]
        assert updates[-1] == "COMPLETED"
"""


@pytest.mark.parametrize(
    ("mark", "options"),
    [("", ("-p", "no:anyio")), ("import pytest\npytestmark = pytest.mark.anyio", ("-p", "no:asyncio"))],
    ids=["pytest-asyncio", "anyio"],
)
def test_async_tests_work_with_either_runner(project: Project, mark: str, options: tuple[str, ...]) -> None:
    project.write("pytest.ini", INI.partition("asyncio")[0] if mark else INI)
    project.write("conftest.py", "import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n")
    project.write("test_async.py", ASYNC.replace("{mark}", mark))
    project.write("test_sync.py", SYNC)
    code, output = project.pytest("-q", *options)
    assert (code, "4 passed" in output) == (0, True), output
    assert "BlockingIOError" not in output


def test_what_went_wrong_is_told_at_the_line_of_the_test(project: Project) -> None:
    project.write(
        "test_it.py",
        "def test_a_fault_that_does_not_happen(jobwire):\n    jobwire.unavailable(2)\n"
        "def test_an_assertion(jobwire):\n    jobwire.assert_submitted('add', a=1)\n",
    )
    code, output = project.pytest("-q")
    assert (code, "1 failed, 1 passed, 1 error" in output) == (1, True), output
    assert "Faults were arranged that did not happen: unavailable (2 of 2 calls to come)." in output
    assert "Nothing was submitted at all." in output
    assert "kit.py" not in output


def test_a_project_that_does_not_use_it_pays_for_nothing(project: Project) -> None:
    project.write(
        "test_it.py",
        "import sys\ndef test_it():\n    assert not {'grpc', 'jobwire.client'} & sys.modules.keys()\n",
    )
    code, output = project.pytest("-q")
    assert code == 0, output


def test_without_a_server_installed_the_test_is_told_what_is_missing(project: Project) -> None:
    project.write(
        "conftest.py",
        "import importlib.metadata as m\nm.entry_points = lambda **k: []\n",
    )
    project.write("test_it.py", "def test_it(jobwire): pass\n")
    code, output = project.pytest("-q")
    assert code == 1
    assert "The engine that tests run on comes with the server of jobwire, which is not installed." in output
