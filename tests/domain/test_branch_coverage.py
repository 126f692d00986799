"""The domain decides everything, so no branch of it goes untried by the tests of this folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_tests_of_the_domain_take_every_branch_of_it(tmp_path: Path) -> None:
    environment = os.environ | {"COVERAGE_FILE": str(tmp_path / "coverage")}
    coverage = [sys.executable, "-m", "coverage"]
    source = ["--branch", "--source", "jobwire_server.domain"]
    pytest_again = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(HERE.parent), f"--ignore={HERE}"]
    root = HERE.parents[2]
    ran = subprocess.run(
        [*coverage, "run", *source, *pytest_again],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-2000:]
    report = subprocess.run(
        [*coverage, "report", "--show-missing", "--fail-under=100"],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.returncode == 0, report.stdout
