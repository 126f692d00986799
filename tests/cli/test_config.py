"""`jobwire config`: contexts, what counts, and who said so."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jobwire.cli.context_file import changing
from jobwire.cli.faults import CliError
from jobwire.contexts import KEYS
from tests.cli.conftest import Jobwire
from tests.cli.scripted import ScriptedServer

COMMENTED = """\
# Mine, by hand.

# The real one.
[contexts.prod]
address = "jobs.internal:7780"  # behind the wall
timeout = "30s"
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where contexts are kept; the file is not there yet."""
    path = tmp_path / "settings" / "jobwire" / "config.toml"
    monkeypatch.setenv("JOBWIRE_CONTEXTS", str(path))
    return path


@pytest.fixture
def written(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that somebody wrote, and no address in the environment."""
    monkeypatch.delenv("JOBWIRE_ADDRESS", raising=False)
    path.parent.mkdir(parents=True)
    path.write_text(COMMENTED)
    return path


def shown(jobwire: Jobwire, line: str) -> dict[str, dict[str, str]]:
    """What `config show` says, by setting."""
    ran = jobwire(f"{line} config show -o json")
    assert ran.exit_code == 0, ran.stderr
    return {each["name"]: each for each in json.loads(ran.stdout)["settings"]}


def test_the_first_setting_makes_the_file_a_context_and_the_current_one(
    jobwire: Jobwire, path: Path, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOBWIRE_ADDRESS")

    ran = jobwire(f"-c prod config set address {server.address}")

    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "in the context 'prod' (a new one)" in ran.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert jobwire("submit hello -q").stdout == "job-1\n"  # it reaches that server by the context alone
    assert list(path.parent.iterdir()) == [path]


def test_a_change_keeps_comments_and_what_else_is_there(jobwire: Jobwire, written: Path) -> None:
    assert jobwire("-c prod config set timeout 1m").exit_code == 0
    assert jobwire("-c local config set address 127.0.0.1:7780").exit_code == 0
    assert jobwire("config use prod").exit_code == 0

    assert written.read_text() == (
        "# Mine, by hand.\n"
        "\n"
        'current = "prod"\n'
        "\n"
        "# The real one.\n"
        "[contexts.prod]\n"
        'address = "jobs.internal:7780"  # behind the wall\n'
        'timeout = "1m"\n'
        "\n"
        "[contexts.local]\n"
        'address = "127.0.0.1:7780"\n'
    )


def test_a_file_that_is_a_link_stays_one(jobwire: Jobwire, written: Path, tmp_path: Path) -> None:
    kept = tmp_path / "dotfiles.toml"
    written.rename(kept)
    written.symlink_to(kept)

    jobwire("-c prod config set timeout 2m")

    assert written.is_symlink()
    assert 'timeout = "2m"' in kept.read_text()


def test_use_chooses_for_every_terminal_and_none_ends_it(jobwire: Jobwire, written: Path) -> None:
    assert jobwire("config get address").stdout == "127.0.0.1:7780\n"

    jobwire("config use prod")
    assert jobwire("config get address").stdout == "jobs.internal:7780\n"

    jobwire("config use --none")
    assert jobwire("config get address").stdout == "127.0.0.1:7780\n"
    assert "current" not in written.read_text()


def test_use_says_when_the_environment_wins_anyway(
    jobwire: Jobwire, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobwire("-c other config set address o:1")
    monkeypatch.setenv("JOBWIRE_CONTEXT", "other")

    ran = jobwire("config use prod")

    assert "note: the environment variable JOBWIRE_CONTEXT names 'other', which wins here" in ran.stderr


def test_unset_takes_a_setting_out(jobwire: Jobwire, written: Path) -> None:
    assert jobwire("-c prod config set timeout --unset").exit_code == 0

    assert "timeout" not in written.read_text()
    assert jobwire("-c prod config get timeout").stdout == "10s\n"


def test_a_path_is_stored_whole_for_it_is_used_from_anywhere(
    jobwire: Jobwire, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    jobwire("-c prod config set tls_ca ca.pem")

    assert f'tls_ca = "{tmp_path}/ca.pem"' in path.read_text()


def test_origin_names_flag_variable_line_and_default(
    jobwire: Jobwire, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBWIRE_COLOR", "never")
    monkeypatch.setenv("JOBWIRE_CONTEXT", "prod")

    ran = jobwire("config show --origin --tls-server-name jobs")

    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in ran.stdout.splitlines()}
    assert rows["SETTING"] == "VALUE FROM"
    assert rows["address"] == f"jobs.internal:7780 the context 'prod' ({written}:5)"
    assert rows["timeout"] == f"30s the context 'prod' ({written}:6)"
    assert rows["tls_server_name"] == "jobs the flag --tls-server-name"
    assert rows["color"] == "never the environment variable JOBWIRE_COLOR"
    assert rows["output"] == "table the default"
    assert rows.keys() - {"SETTING"} == KEYS.keys()


@pytest.mark.parametrize(
    ("flag", "variable", "expected"),
    [
        ("-a flag:1", "JOBWIRE_ADDRESS=env:1", ("flag:1", "given")),
        ("", "JOBWIRE_ADDRESS=env:1", ("env:1", "environment")),
        ("-c prod", "JOBWIRE_ADDRESS=env:1", ("jobs.internal:7780", "context")),
        ("-c prod -a flag:1", "", ("flag:1", "given")),
        ("", "JOBWIRE_CONTEXT=prod", ("jobs.internal:7780", "context")),
        ("", "", ("127.0.0.1:7780", "default")),
    ],
)
def test_flag_then_environment_then_context_then_default(
    jobwire: Jobwire,
    written: Path,
    monkeypatch: pytest.MonkeyPatch,
    flag: str,
    variable: str,
    expected: tuple[str, str],
) -> None:
    if variable:
        monkeypatch.setenv(*variable.split("="))

    address = shown(jobwire, flag)["address"]

    assert (address["value"], address["origin"]["place"]) == expected  # type: ignore[index]


def test_settings_of_a_context_take_effect_on_commands(
    jobwire: Jobwire, path: Path, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(f'current = "a"\n[contexts.a]\naddress = "{server.address}"\noutput = "json"\ncolor = "always"\n')
    monkeypatch.delenv("JOBWIRE_ADDRESS")

    submitted = jobwire("submit hello")
    listed = jobwire("job list -o table")
    refused = jobwire("job get nobody")

    assert json.loads(submitted.stdout)["job_id"] == "job-1"
    assert "\x1b[" in listed.stdout
    assert json.loads(refused.stderr)["error"]["code"] == "JOB_NOT_FOUND"


def test_list_marks_the_one_that_counts(jobwire: Jobwire, written: Path) -> None:
    jobwire("-c local config set address 127.0.0.1:1")
    jobwire("config use local")

    assert jobwire("config list").stdout.splitlines() == [
        "   CONTEXT  ADDRESS             OTHER SETTINGS",
        "   prod     jobs.internal:7780  timeout=30s",
        "*  local    127.0.0.1:1",
    ]
    assert jobwire("config list -o id").stdout == "prod\nlocal\n"
    contexts = json.loads(jobwire("config list -o json").stdout)["contexts"]
    assert contexts[1] == {"name": "local", "current": True, "settings": {"address": "127.0.0.1:1"}}


def test_an_empty_list_says_how_to_begin(jobwire: Jobwire, path: Path) -> None:
    ran = jobwire("config list")

    assert ran.stdout == ""
    assert "jobwire -c NAME config set address HOST:PORT" in ran.stderr


@pytest.mark.parametrize(
    ("line", "code", "words", "hint"),
    [
        ("config get adress", "CONFIG_INVALID", "'adress' is no setting", "did you mean 'address'?"),
        ("-c prod config set adress x:1", "CONFIG_INVALID", "'adress' is no setting", "did you mean 'address'?"),
        ("-c prod config set address nowhere", "ARGUMENT_INVALID", "'nowhere' is not an address", "HOST:PORT"),
        ("-c prod config set timeout soon", "CONFIG_INVALID", "timeout must be a duration", ""),
        ("-c prod config set output jsn", "CONFIG_INVALID", "output cannot be 'jsn'", "did you mean 'json'?"),
        ("-c prod config set tls perhaps", "CONFIG_INVALID", "tls must be true or false", ""),
        ("-c prod config set timeout", "USAGE", "VALUE, or --unset", ""),
        ("-c 'a b' config set timeout 1s", "USAGE", "'a b' is no name for a context", ""),
        ("config set timeout 1s", "USAGE", "no context is chosen", "config use NAME"),
        ("config use prd", "CONFIG_INVALID", "there is no context 'prd'", "did you mean 'prod'?"),
        ("config use", "USAGE", "NAME of a context, or --none", ""),
        ("-c prd job list", "CONFIG_INVALID", "there is no context 'prd'", "did you mean 'prod'?"),
    ],
)
def test_a_mistake_is_told_and_changes_nothing(
    jobwire: Jobwire, written: Path, line: str, code: str, words: str, hint: str
) -> None:
    ran = jobwire(f"{line} -o json")

    error = json.loads(ran.stderr)["error"]
    assert (ran.exit_code, error["code"], ran.stdout) == (2, code, "")
    assert words in error["message"]
    assert hint in error["hint"]
    assert written.read_text() == COMMENTED


def test_a_broken_file_is_one_error_for_people_and_for_programs(jobwire: Jobwire, written: Path) -> None:
    written.write_text('current = "a\n')

    plain, machine = jobwire("job list"), jobwire("job list -o json")

    assert plain.exit_code == machine.exit_code == 2
    assert plain.stderr.startswith(f"error[CONFIG_INVALID] the file of contexts {written} is not TOML")
    assert json.loads(machine.stderr)["error"]["code"] == "CONFIG_INVALID"


def test_a_wrong_variable_does_not_hide_behind_the_error_that_it_causes(
    jobwire: Jobwire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBWIRE_COLOR", "sometimes")

    ran = jobwire("job list")

    assert ran.exit_code == 2
    assert "color cannot be 'sometimes' (it came from: the environment variable JOBWIRE_COLOR)" in ran.stderr


def test_a_folder_that_cannot_be_written_says_so(
    jobwire: Jobwire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("JOBWIRE_CONTEXTS", str(tmp_path / "file" / "config.toml"))

    ran = jobwire("-c prod config set timeout 1s")

    assert ran.exit_code == 2
    assert ran.stderr.startswith("error[OUTPUT_UNWRITABLE] cannot write ")
    assert "JOBWIRE_CONTEXTS=FILE" in ran.stderr


@pytest.mark.timeout(10)
def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    """JOBWIRE_CONTEXTS=/dev/null means no contexts; a change must not put a file in the place of the device. A pipe
    stands for the device here, so that a failure costs nothing."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    with pytest.raises(CliError, match="it is no regular file"), changing(pipe):
        pass

    assert pipe.is_fifo()


def test_reading_a_setting_loads_neither_grpc_nor_what_writes_files(path: Path) -> None:
    code = (
        "import sys\nfrom jobwire.cli import main\nmain(['config', 'list'])\n"
        "print(*sorted(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = set(done.stderr.splitlines()[-1].split())
    assert not loaded & {"grpc", "tomlkit", "asyncio", "rich"}
