"""`jobwire db` on PostgreSQL, and the way from a file into it and back: what people and programs read."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from jobwire_server.domain.outcome import Succeeded
from jobwire_server.kernel.clock import SystemClock
from jobwire_server.store.base import Submission
from jobwire_server.store.postgres.store import PostgresStore
from tests.cli.conftest import Jobwire, Ran
from tests.helpers.factories import new_job
from tests.helpers.postgres import PostgresServer
from tests.helpers.processes import JOBWIRE
from tests.helpers.stores import RESULT, StoreRig

MANY = 20_000


async def _fill(path: Path, jobs: int) -> None:
    rig = StoreRig(path)
    await rig.open()
    await rig.run(Succeeded(RESULT), job_id="done")
    for _ in range(jobs // 1000):
        await rig.store.submit(Submission("default", [new_job() for _ in range(1000)]))
    await rig.close()


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """An empty database."""
    name = postgres.empty_database()
    yield postgres.url(name)
    postgres.drop(name)


async def _serve_for_a_moment(url: str) -> str:
    store = PostgresStore(url, clock=SystemClock(), chance=lambda: 0.5)
    position = await store.open()
    await store.close()
    return position.epoch


def document(ran: Ran) -> dict[str, Any]:
    assert ran.exit_code == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def fault(ran: Ran) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ran.stderr.splitlines()[-1])["error"]
    return found


def test_a_store_is_carried_in_looked_at_checked_and_carried_out_again(
    jobwire: Jobwire, url: str, tmp_path: Path
) -> None:
    asyncio.run(_fill(tmp_path / "jobs.db", 0))
    before = document(jobwire(f"db status --db {tmp_path}/jobs.db -o json"))

    done = document(jobwire(f"db import {tmp_path}/jobs.db --db '{url}' -o json"))
    assert (done["from"], done["to"], done["resumed"]) == (f"{tmp_path}/jobs.db", url, False)
    assert (done["rows"]["job"], done["rows"]["event"]) == (1, 3)

    there = document(jobwire(f"db status --db '{url}' -o json"))
    assert (there["epoch"], there["revision"], there["jobs"]) == (before["epoch"], 3, {"COMPLETED": 1})
    assert (there["servers"], there["pending_migrations"], there["is_whole"]) == (0, [], True)
    assert there["backup_time"] is not None
    lines = jobwire(f"db status --db '{url}'").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["Store", "Servers", "Schema", "Epoch", "Log", "Jobs", "Backup"]
    assert jobwire(f"db check --db '{url}'").stdout == f"✓ {url} is sound\n"
    assert document(jobwire(f"db migrate --db '{url}' -o json"))["migrations"] == []

    epoch = asyncio.run(_serve_for_a_moment(url))
    assert epoch != before["epoch"]
    said = jobwire(f"db export {tmp_path}/back.db --db '{url}'")
    assert said.exit_code == 0, said.stderr
    assert said.stdout.startswith(f"✓ {tmp_path}/back.db · 1 jobs, 3 events, ")
    assert document(jobwire(f"db check --db {tmp_path}/back.db -o json"))["sound"]


@pytest.mark.timeout(120)
def test_an_import_that_is_killed_goes_on_where_it_stopped(jobwire: Jobwire, url: str, tmp_path: Path) -> None:
    asyncio.run(_fill(tmp_path / "jobs.db", MANY))
    arguments = ["db", "import", str(tmp_path / "jobs.db"), "--db", url]
    with subprocess.Popen([*JOBWIRE, *arguments], stderr=subprocess.PIPE) as killed:
        assert killed.stderr is not None
        assert b"copied" in killed.stderr.readline()
        killed.send_signal(signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    assert not document(jobwire(f"db status --db '{url}' -o json"))["is_whole"]
    assert "run the same jobwire db import again" in jobwire(f"db status --db '{url}'").stdout

    done = document(jobwire(f"db import {tmp_path}/jobs.db --db '{url}' -o json"))

    assert done["resumed"]
    assert (done["rows"]["job"], done["rows"]["event"]) == (MANY + 1, MANY + 3)
    assert document(jobwire(f"db check --db '{url}' -o json"))["sound"]


def test_what_is_wrong_in_a_database_is_told_row_by_row(jobwire: Jobwire, url: str, tmp_path: Path) -> None:
    asyncio.run(_fill(tmp_path / "jobs.db", 0))
    jobwire(f"db import {tmp_path}/jobs.db --db '{url}'")
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM jobwire.event WHERE sequence = 2")
    ran = jobwire(f"db check --db '{url}' -o json")
    assert ran.exit_code == 11
    problems = json.loads(ran.stdout)["problems"]
    assert {(each["table"], each["row"]) for each in problems} == {("event", "revision 3 of job done")}


def test_a_store_that_was_copied_by_other_means_is_renewed_by_hand(jobwire: Jobwire, url: str, tmp_path: Path) -> None:
    asyncio.run(_fill(tmp_path / "jobs.db", 0))
    before = document(jobwire(f"db status --db {tmp_path}/jobs.db -o json"))["epoch"]
    renewed = document(jobwire(f"db renew --db {tmp_path}/jobs.db -o json"))
    assert renewed["epoch"] != before
    assert document(jobwire(f"db status --db {tmp_path}/jobs.db -o json"))["epoch"] == renewed["epoch"]
    jobwire(f"db import {tmp_path}/jobs.db --db '{url}'")
    again = document(jobwire(f"db renew --db '{url}' -o json"))
    assert again["epoch"] not in (before, renewed["epoch"])
    assert document(jobwire(f"db check --db '{url}' -o json"))["sound"]


def test_what_cannot_be_is_said_with_a_code(jobwire: Jobwire, url: str, tmp_path: Path) -> None:
    asyncio.run(_fill(tmp_path / "jobs.db", 0))
    (tmp_path / "taken.db").touch()
    for line, code, said in (
        (f"db import {tmp_path}/nowhere.db --db '{url}'", "STORE_NOT_FOUND", "there is no file"),
        (f"db export {tmp_path}/out.db --db '{url}'", "STORE_UNREADABLE", "no schema jobwire"),
        (f"db status --db '{url}'", "STORE_UNREADABLE", "no schema jobwire"),
        (f"db status --db postgresql:///no?host={tmp_path}", "STORE_UNREADABLE", "cannot be reached"),
    ):
        ran = jobwire(f"{line} -o json")
        assert (fault(ran)["code"], ran.stdout) == (code, ""), ran.stderr
        assert said in ran.stderr
    document(jobwire(f"db import {tmp_path}/jobs.db --db '{url}' -o json"))
    again = jobwire(f"db import {tmp_path}/jobs.db --db '{url}' -o json")
    assert "holds another store already" in again.stderr
    assert fault(jobwire(f"db export {tmp_path}/taken.db --db '{url}' -o json"))["code"] == "TARGET_EXISTS"
