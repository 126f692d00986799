"""`jobwire db` and `serve --check-config`: what people and programs read, and the exit codes. No server is needed."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import apsw
import pytest

from jobwire_server.domain.outcome import Succeeded
from tests.cli.conftest import Jobwire, Ran
from tests.helpers.stores import RESULT, StoreRig


async def _fill(path: Path) -> None:
    rig = StoreRig(path)
    await rig.open()
    await rig.run(Succeeded(RESULT), job_id="done")
    await rig.add(job_id="waits")
    await rig.close()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with one job that is done and one that waits; the current folder is another one."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = tmp_path / "jobs.db"
    asyncio.run(_fill(path))
    return path


def document(ran: Ran) -> dict[str, Any]:
    assert ran.exit_code == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def fault(ran: Ran) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ran.stderr)["error"]
    return found


def test_status_says_what_a_store_is_and_what_is_in_it(jobwire: Jobwire, store: Path) -> None:
    found = document(jobwire(f"db status --db {store} -o json"))
    assert (found["path"], found["server_pid"], found["revision"], found["compacted"]) == (str(store), None, 4, 0)
    assert found["jobs"] == {"PENDING": 1, "COMPLETED": 1}
    assert (found["pending_migrations"], found["backup_time"], found["restored_time"]) == ([], None, None)

    lines = jobwire(f"db status --db {store}").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["Store", "Server", "Schema", "Epoch", "Log", "Jobs"]
    assert lines[5].split(maxsplit=1)[1] == "PENDING 1 · COMPLETED 1"


COMMANDS = ["status", "check", "migrate", 'sql "SELECT 1 AS one"', "sql --schema", "restore {backup}"]


@pytest.mark.parametrize("command", [*COMMANDS, "backup {backup} --force"])
def test_every_format_is_known_to_every_command(jobwire: Jobwire, store: Path, tmp_path: Path, command: str) -> None:
    backup = tmp_path / "backup.db"
    jobwire(f"db backup {backup} --db {store}")

    def said(form: str) -> str:
        ran = jobwire(f"db {command.format(backup=backup)} --db {store} -o {form}")
        assert ran.exit_code == 0, ran.stderr
        return ran.stdout

    assert isinstance(json.loads(said("json")), dict)
    assert all(isinstance(json.loads(row), dict) for row in said("jsonl").splitlines())
    assert re.match(r"\w+:", said("yaml"))
    assert said("id") == f"{backup if command.startswith('backup') else store}\n"
    assert said("none") == ""
    assert said("table")
    assert said("wide")


def test_the_store_is_found_as_a_server_finds_it(
    jobwire: Jobwire, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("jobwire.toml").write_text(f"db = '{store}'\n")
    assert document(jobwire("db status -o json"))["path"] == str(store)
    monkeypatch.setenv("JOBWIRE_DB", "other.db")
    assert jobwire("db status").exit_code == 6


def test_a_backup_goes_through_its_whole_life(jobwire: Jobwire, store: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    made = jobwire(f"db backup {backup} --db {store}")
    assert made.exit_code == 0
    assert made.stdout.startswith(f"✓ {backup} · ")
    assert made.stderr == "copied 100 %, checking\n"
    assert document(jobwire(f"db status --db {backup} -o json"))["backup_time"] is not None

    put_back = document(jobwire(f"db restore {backup} --db {store} -o json"))

    assert (put_back["path"], put_back["checked"]) == (str(store), True)
    assert Path(put_back["kept"]).name.startswith("jobs.db.before-restore-")
    epoch = document(jobwire(f"db status --db {store} -o json"))["epoch"]
    asyncio.run(_open_once(store))
    after = document(jobwire(f"db status --db {store} -o json"))
    assert after["epoch"] != epoch
    assert after["backup_time"] is None
    assert after["restored_backup_time"] < after["restored_time"] or after["restored_time"] is not None


async def _open_once(path: Path) -> None:
    rig = StoreRig(path)
    await rig.open()
    await rig.close()


def test_a_restore_without_a_store_makes_one(jobwire: Jobwire, store: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "jobs.db"
    assert document(jobwire(f"db restore {store} --db {target} -o json"))["kept"] is None
    assert document(jobwire(f"db check --db {target} -o json"))["sound"]


def test_what_cannot_be_is_said_with_a_code(jobwire: Jobwire, store: Path, tmp_path: Path) -> None:
    taken, text = tmp_path / "taken.db", tmp_path / "notes.txt"
    taken.write_text("x")
    text.write_text("These are my notes. " * 50)
    for line, code, exit_code in (
        (f"db backup {taken} --db {store}", "TARGET_EXISTS", 7),
        (f"db backup {tmp_path}/b.db --db {tmp_path}/nowhere.db", "STORE_NOT_FOUND", 6),
        (f"db restore {tmp_path}/nowhere.db --db {store}", "STORE_NOT_FOUND", 6),
        (f"db restore {text} --db {store}", "STORE_UNREADABLE", 1),
        (f"db status --db {text}", "STORE_UNREADABLE", 1),
        (f"db backup {tmp_path}/no/such/folder/b.db --db {store}", "STORE_NOT_FOUND", 6),
        (f"db sql 'DELETE FROM job' --db {store}", "ARGUMENT_INVALID", 2),
        ("db backup b.db --db postgresql://host/db", "USAGE", 2),
        (f"db import b.db --db {store}", "USAGE", 2),
        (f"db export b.db --db {store}", "USAGE", 2),
    ):
        ran = jobwire(f"{line} -o json")
        assert (fault(ran)["code"], ran.exit_code, ran.stdout) == (code, exit_code, ""), line


def test_a_sound_store_passes_the_check_and_a_damaged_one_is_told_row_by_row(jobwire: Jobwire, store: Path) -> None:
    assert jobwire(f"db check --db {store}").stdout == f"✓ {store} is sound\n"
    connection = apsw.Connection(str(store))
    connection.execute("DELETE FROM event WHERE revision >= 3")
    connection.close()

    people, programs = jobwire(f"db check --db {store}"), jobwire(f"db check --db {store} -o json --limit 1")

    assert people.exit_code == programs.exit_code == 11
    first = people.stdout.splitlines()[0]
    assert first.startswith("✕ job done: its row and its last event differ: revision 3, the log 2;")
    assert people.stderr.startswith(f"error[STORE_DAMAGED] {store} has 2 problems\n")
    found = json.loads(programs.stdout)
    assert (found["sound"], found["more"], len(found["problems"])) == (False, True, 1)
    assert found["problems"][0].keys() == {"table", "row", "problem"}
    assert fault(programs)["code"] == "STORE_DAMAGED"


def test_a_store_of_an_older_schema_is_migrated(jobwire: Jobwire, store: Path) -> None:
    assert jobwire(f"db migrate --db {store}").stdout == "✓ the schema is up to date\n"
    connection = apsw.Connection(str(store))
    connection.execute("DELETE FROM migration WHERE number = 4")
    connection.execute("DELETE FROM meta WHERE name = 'fence_floor'")
    connection.close()
    assert fault(jobwire(f"db check --db {store} -o json"))["code"] == "STORE_UNREADABLE"

    planned = jobwire(f"db migrate --dry-run --show-sql --db {store}").stdout
    assert planned.startswith("○ would run 0004_lives\n-- Lives of a store")
    assert document(jobwire(f"db migrate --db {store} -o json")) == {
        "migrations": [{"name": "0004_lives", "sql": None}], "done": True,
    }  # fmt: skip
    assert document(jobwire(f"db check --db {store} -o json"))["sound"]


def test_a_question_in_sql_is_answered_in_every_format(jobwire: Jobwire, store: Path) -> None:
    query = "SELECT id, state_name(state) AS state, x'00ff' AS bytes, NULL AS none FROM job ORDER BY key"
    ask = f'db sql "{query}" --db {store}'
    assert jobwire(ask).stdout.splitlines() == [
        "id     state      bytes  none",
        "done   COMPLETED  00ff",
        "waits  PENDING    00ff",
    ]
    first = {"id": "done", "state": "COMPLETED", "bytes": "00ff", "none": None}
    answer = document(jobwire(f"{ask} -o json"))
    assert (answer["columns"], answer["rows"][0]) == (list(first), first)
    assert json.loads(jobwire(f"{ask} -o jsonl").stdout.splitlines()[0]) == first
    assert jobwire(f"db sql --db {store}", stdin="SELECT count(*) FROM job").stdout.splitlines()[1] == "2"
    assert document(jobwire(f'db sql "SELECT id FROM job WHERE 0" --db {store} -o json')) == {
        "columns": ["id"], "rows": [],
    }  # fmt: skip
    assert "CREATE TABLE" in jobwire(f"db sql --schema --db {store}").stdout


@pytest.mark.parametrize(
    "query",
    [
        "UPDATE job SET state = 5",
        "PRAGMA query_only = 0",
        "ATTACH 'other.db' AS other",
        "SELECT * FROM secret",
        "SELECT value FROM (SELECT value FROM secret)",
        "SELECT 1; DELETE FROM job",
        "SELECT load_extension('x')",
        "SELECT nonsense",
        "CREATE TEMP TABLE t (x)",
        "VACUUM INTO 'copy.db'",
    ],
)
def test_a_question_changes_nothing_and_sees_no_secret(jobwire: Jobwire, store: Path, query: str) -> None:
    before = store.read_bytes()
    ran = jobwire(f'db sql "{query}" --db {store} -o json')
    assert (fault(ran)["code"], ran.exit_code) == ("ARGUMENT_INVALID", 2)
    assert store.read_bytes() == before
    assert list(Path().iterdir()) == []


# --- serve --check-config -----------------------------------------------------------------------------------------


def test_a_sound_configuration_is_said_to_be_so_and_nothing_is_started(jobwire: Jobwire, store: Path) -> None:
    Path("jobwire.toml").write_text("slots = 3\n")
    ran = jobwire("serve --check-config --db new.db")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert ran.stderr == ("The configuration is sound. Not left at its default: db (--db), slots (jobwire.toml:1).\n")
    assert not Path("new.db").exists()


def test_a_configuration_that_is_not_sound_is_told_why(jobwire: Jobwire, store: Path) -> None:
    Path("jobwire.toml").write_text("slotz = 3\n")
    for flag in ("--check-config", "--print-config"):
        ran = jobwire(f"serve {flag} --db new.db")
        assert (ran.exit_code, ran.stdout) == (2, "")
        assert "jobwire.toml:1 has an unknown key 'slotz'. Did you mean 'slots'?" in ran.stderr


def test_the_configuration_in_force_is_printed_with_the_place_of_each_value(jobwire: Jobwire, store: Path) -> None:
    Path("jobwire.toml").write_text("slots = 3\n")
    lines = jobwire("serve --print-config --db new.db").stdout.splitlines()
    assert lines[0].startswith("# What is in force for `jobwire serve`")
    assert [line.split("#")[-1].strip() for line in lines if line.startswith(("db ", "slots ", "grace "))] == [
        "--db", "jobwire.toml:1", "default",
    ]  # fmt: skip
