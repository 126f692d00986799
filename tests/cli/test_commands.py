"""Commands that come from elsewhere, and those that speak of the installation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Jobwire
from tests.cli.scripted import Service

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).with_name("jobwire")


@pytest.fixture
def plugins(tmp_path: Path) -> dict[str, str]:
    """An environment with a distribution that brings two commands, one of them broken."""
    (tmp_path / "greeting.py").write_text(
        "import click\n\n@click.command()\ndef greet():\n    'Greet.'\n    click.echo('hello')\n"
    )
    info = tmp_path / "greeting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[jobwire.commands]\ngreet = greeting:greet\nbroken = no_such_module:x\n")
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def run(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *arguments], env=environ, capture_output=True, text=True, check=False)


def test_another_package_brings_a_command(plugins: dict[str, str]) -> None:
    helped = run(plugins, "--help")

    assert run(plugins, "greet").stdout == "hello\n"
    lines = [" ".join(line.split()) for line in helped.stdout.splitlines()]
    assert "greet (from another package)" in lines
    assert "broken (from another package)" in lines


def test_a_command_that_cannot_be_loaded_says_so_and_breaks_no_other(plugins: dict[str, str]) -> None:
    broken = run(plugins, "broken")

    assert broken.returncode == 2
    assert broken.stderr.startswith(
        "error[COMMAND_UNAVAILABLE] the command 'broken' cannot be loaded from no_such_module:x"
    )
    assert run(plugins, "version").returncode == 0


def test_proto_writes_the_contract_as_it_is(jobwire: Jobwire, tmp_path: Path) -> None:
    ran = jobwire(f"proto --out {tmp_path / 'out'} -o json")

    written = [Path(path) for path in json.loads(ran.stdout)["files"]]
    assert {path.name for path in written} == {path.name for path in (ROOT / "protos/jobwire/v1").glob("*.proto")}
    for path in written:
        place = path.relative_to(tmp_path / "out")
        assert path.read_bytes() == (ROOT / "protos" / place).read_bytes()


def test_proto_says_which_file_it_cannot_write(jobwire: Jobwire, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")

    ran = jobwire(f"proto --out {tmp_path / 'out'}")

    assert ran.exit_code == 2
    assert ran.stderr.startswith("error[OUTPUT_UNWRITABLE] cannot write ")


def test_version_tells_of_the_client_and_when_asked_of_the_server(jobwire: Jobwire) -> None:
    alone, both = jobwire("version"), jobwire("version --server")

    assert alone.stdout.startswith("jobwire 0.")
    assert "server" not in alone.stdout
    assert "server 9.9.9 · store sqlite" in both.stdout
    assert "recovery 3 returned · 0 still leased · 0 failed · 0 waiting" in both.stdout
    assert "capabilities type:hello, type:echo" in both.stdout


def test_a_pool_in_trouble_is_told_of_by_version_and_doctor(jobwire: Jobwire, service: Service) -> None:
    assert "pool" not in jobwire("version --server").stdout
    service.pool_trouble = "Its handlers cannot be imported."

    assert "\npool Its handlers cannot be imported.\n" in jobwire("version --server").stdout
    findings = json.loads(jobwire("doctor -o json").stdout)["findings"]
    [pool] = [each for each in findings if each["check"] == "pool"]
    assert "Its handlers cannot be imported." in pool["text"]


def test_help_is_short_of_nothing(jobwire: Jobwire) -> None:
    for line in ("--help", "-h", "run -h", "job --help", "job list -h"):
        ran = jobwire(line)

        assert ran.exit_code == 0
        assert "Global options" in ran.stdout
        assert "--address" in ran.stdout


def test_a_command_without_its_verb_shows_help_and_is_an_error(jobwire: Jobwire) -> None:
    for line in ("", "job"):
        ran = jobwire(line)

        assert ran.exit_code == 2
        assert ran.stdout == ""
        assert "Commands" in ran.stderr
