"""`jobwire work`, `App.run` and `jobwire worker list`: real workers at a real server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import pytest
import pytest_asyncio

from jobwire.aio import AsyncClient
from jobwire.models import JobFilter, JobState, RetryPolicy, WorkerInfo
from jobwire.worker.process import check_handlers
from tests.cli.terminal import Terminal, without_escapes
from tests.helpers.processes import JOBWIRE, REPOSITORY, ServerProcess
from tests.worker.support import Notes

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

APP = "tests.cli.work_jobs:app"


class Worker:
    """A worker process: what it says on stderr, and prints on stdout."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._said = asyncio.Event()
        self._lines: list[str] = []
        self._listening = asyncio.ensure_future(self._listen())

    @classmethod
    async def start(cls, address: str, *command: str) -> Worker:
        """Start it."""
        environ = {**os.environ, "JOBWIRE_ADDRESS": address, "PYTHONPATH": str(REPOSITORY)}
        process = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ,
            cwd=REPOSITORY,
        )  # fmt: skip
        return cls(process)

    @property
    def said(self) -> str:
        """All of stderr so far."""
        return "\n".join(self._lines)

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait until something on stderr looks like this."""
        async with asyncio.timeout(60):
            while (found := re.search(pattern, self.said)) is None:
                assert not self._listening.done(), f"it ended without saying {pattern!r}:\n{self.said}"
                self._said.clear()
                await self._said.wait()
        return found

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    async def ended(self) -> tuple[int, str]:
        """Wait for the end; returns the exit code and what it printed."""
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            printed = await self._process.stdout.read()
            await self._listening
            return await self._process.wait(), printed.decode()

    async def destroy(self) -> None:
        """End it whatever it does."""
        if self._process.returncode is None:
            self._process.kill()
        await self.ended()

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self._lines.append(line.decode().rstrip("\n"))
            self._said.set()
        self._said.set()


class Server:
    """`jobwire serve` on a socket of its own, without a pool, and a client of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"unix:{folder}/s"
        self.client = AsyncClient(self.address)
        self._process: ServerProcess | None = None

    async def start(self) -> None:
        """Start, and wait until it is ready."""
        arguments = ["serve", "--db", str(self.folder / "jobs.db"), "--listen", self.address]
        self._process = ServerProcess(arguments)
        await self._process.expect_ready()

    async def stop(self) -> None:
        """Kill it and forget the client."""
        await self.client.close()
        if self._process is not None:
            await self._process.destroy()

    @asynccontextmanager
    async def worker(self, *words: str, command: tuple[str, ...] = (*JOBWIRE, "work")) -> AsyncIterator[Worker]:
        """A worker; killed at the end of the block, unless it ended."""
        worker = await Worker.start(self.address, *command, *words)
        try:
            yield worker
        finally:
            await worker.destroy()

    async def workers(self) -> list[WorkerInfo]:
        """Whom the server knows."""
        return [worker async for worker in self.client.workers()]

    async def result(self, kind: str, payload: object = None, **options: Any) -> Any:
        """Submit a job and wait for its result."""
        job = await self.client.submit(kind, payload, **options)
        return await job.result(timeout="60s")


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    with TemporaryDirectory(prefix="jw-") as folder:  # tmp_path may be too long for a Unix socket
        server = Server(Path(folder))
        await server.start()
        yield server
        await server.stop()


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Notes]:
    notes = Notes(tmp_path / "notes")
    yield notes
    notes.close()


@pytest.fixture
def go(tmp_path: Path) -> Path:
    path = tmp_path / "go"
    os.mkfifo(path)
    return path


def waiting(notes: Notes, go: Path) -> dict[str, str]:
    return {"notes": str(notes.path), "go": str(go)}


READY = r"worker .* Ctrl\+C drains"


# --- apps -----------------------------------------------------------------------------------------------------------


async def test_an_app_of_handlers_is_a_worker_and_each_end_is_a_line(server: Server) -> None:
    async with server.worker(APP, "--slots", "2", "--worker-id", "w-1") as worker:
        await worker.says(
            r"worker w-1 · types add, chain, fail, grow, pid, wait · 2 slots · every queue · unix:\S+ · Ctrl\+C"
        )
        assert await server.result("add", {"a": 1, "b": 2}) == 3
        await worker.says(r"Z \S+ COMPLETED type=add attempt=1/20 duration=\S+ bytes=1")
        job = await server.client.submit("fail", max_attempts=1)
        await job.wait()
        await worker.says(r'FAILED type=fail attempt=1/1 duration=\S+ error="ValueError: no luck"')

        worker.send(signal.SIGTERM)
        assert await worker.ended() == (0, "")


async def test_what_runs_may_finish_after_the_first_signal_and_new_jobs_wait_for_another_worker(
    server: Server, notes: Notes, go: Path
) -> None:
    async with server.worker(APP) as worker:
        running = await server.client.submit("wait", waiting(notes, go))
        await notes.line()
        worker.send(signal.SIGINT)
        await worker.says("SIGINT: nothing new is begun")
        while (await server.workers())[0].max_in_flight:  # until the server has heard it, too
            pass
        late = await server.client.submit("add", [1, 2])
        await asyncio.to_thread(go.write_text, "done\n")
        assert await worker.ended() == (0, "")
        assert await running.result(timeout="60s") == "done"
        assert (await late.get()).status.state is JobState.PENDING


@pytest.mark.parametrize("how", ["the grace ends", "a second signal"])
async def test_what_does_not_finish_is_given_back_with_its_checkpoint_and_no_attempt_is_used_up(
    server: Server, notes: Notes, go: Path, how: str
) -> None:
    grace = "1ms" if how == "the grace ends" else "1h"
    job = await server.client.submit("wait", waiting(notes, go), max_attempts=1)
    async with server.worker(APP, "--grace", grace) as worker:
        assert await notes.line() == ["began", "nothing"]
        worker.send(signal.SIGTERM)
        if how == "a second signal":
            await worker.says("SIGTERM: nothing new")
            worker.send(signal.SIGTERM)
        assert await worker.ended() == (0, "")
        await worker.says("RELEASED type=wait")
    returned = await job.get()
    assert (returned.status.state, returned.status.attempt) == (JobState.PENDING, 0)

    async with server.worker(APP):
        assert await notes.line() == ["began", "left", "by", "attempt", "1"]
        await asyncio.to_thread(go.write_text, "done\n")
        assert await job.result(timeout="60s") == "done"


async def test_python_m_runs_an_app_with_its_children_and_its_own_settings(server: Server) -> None:
    async with server.worker(command=(sys.executable, "-m", "tests.cli.work_jobs")) as worker:
        await worker.says(r"types add, chain, fail, grow, pid, wait · 2 slots · queues default:2, other · unix:")
        assert isinstance(await server.result("pid"), int)
        assert isinstance(await server.result("pid", queue="other"), int)
        elsewhere = await server.client.submit("add", [1, 2], queue="third")
        assert await server.result("add", [1, 2]) == 3
        assert await worker.ended() == (0, "")
        assert (await elsewhere.get()).status.state is JobState.PENDING


async def test_a_file_that_runs_its_app_is_a_worker_too(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "corner_shop.py"
    file.write_text(
        "from jobwire import App\napp = App('corner')\n\n@app.job('sell', runner='process')\ndef sell() -> str:\n"
        "    return __name__\n\nif __name__ == '__main__':\n    app.run(max_jobs=1, quiet=True)\n"
    )
    async with server.worker(command=(sys.executable, str(file))) as worker:
        assert await server.result("sell") == "corner_shop"
        assert await worker.ended() == (0, "")
        assert worker.said == ""


async def test_follow_ups_of_a_handler_become_jobs_with_its_success(server: Server) -> None:
    async with server.worker(APP):
        job = await server.client.submit("chain", 3)
        assert await job.result(timeout="60s") == 3
        follow_ups = [found async for found in server.client.jobs(JobFilter(labels={"chain": job.id}))]
        assert len(follow_ups) == 3
        results = [await server.client.result(found.job_id, timeout="60s") for found in follow_ups]
        assert sorted(results) == [1, 2, 3]


async def test_exactly_so_many_jobs_as_asked_for_are_run(server: Server) -> None:
    jobs = [await server.client.submit("add", [n, 0]) for n in range(10)]
    async with server.worker(APP, "--max-jobs", "4", "--slots", "3") as worker:
        assert (await worker.ended())[0] == 0
        states = [(await job.get()).status.state for job in jobs]
        assert states.count(JobState.COMPLETED) == 4
        assert states.count(JobState.PENDING) == 6


async def test_children_are_replaced_after_so_many_jobs(server: Server) -> None:
    async with server.worker(APP, "--slots", "1", "--max-jobs-per-child", "2"):
        pids = [await server.result("pid") for _ in range(5)]
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 1]


async def test_a_child_that_grows_too_large_loses_its_job_and_the_worker_goes_on(server: Server) -> None:
    async with server.worker(APP, "--memory-per-child", "100M") as worker:
        job = await server.client.submit("grow", max_attempts=1)
        ended = await job.wait()
        assert ended.status.last_error is not None
        assert ended.status.last_error.type == "LEASE_LOST"
        await worker.says("bytes of memory, more than its limit")
        assert isinstance(await server.result("pid"), int)


async def test_only_the_named_queues_are_served(server: Server) -> None:
    async with server.worker(APP, "--queue", "mail:3", "--queue", "sms") as worker:
        await worker.says("queues mail:3, sms")
        other = await server.client.submit("add", [1, 1])
        assert await server.result("add", [1, 2], queue="sms") == 3
        assert (await other.get()).status.state is JobState.PENDING


async def test_the_example_goes_on_where_it_was_when_its_worker_is_stopped_in_the_middle(server: Server) -> None:
    command = (sys.executable, "examples/python_worker.py")
    job = await server.client.submit("numbers.sum", {"start": 1, "end": 200, "pace_seconds": 0.1}, max_attempts=1)
    async with server.worker(command=command) as worker:
        async for update in job.watch():
            if update.progress is not None and update.progress > 20:
                break
        worker.send(signal.SIGTERM)
        await worker.says("SIGTERM: nothing new")
        worker.send(signal.SIGTERM)
        assert (await worker.ended())[0] == 0
    async with server.worker(command=command):
        first = await anext(aiter(job.watch()))
        assert first.progress is None or first.progress > 20
        assert await job.result(timeout="60s") == {"total": 20_100}
        (follow_up,) = [found async for found in server.client.jobs(JobFilter(types=("numbers.announce",)))]
        assert await server.client.result(follow_up.job_id, timeout="60s") == "The sum of 1 to 200 is 20100."


async def test_the_handlers_that_the_page_about_workers_shows_can_be_used() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/how-to/workers.md").read_text(), re.DOTALL)
    module = sys.modules["page"] = ModuleType("page")
    try:
        exec(compile(block, "docs/how-to/workers.md", "exec"), vars(module))
        check_handlers(module.app.handlers)
    finally:
        del sys.modules["page"]


# --- output ---------------------------------------------------------------------------------------------------------


async def run_three(server: Server, *flags: str) -> str:
    for payload in ([1, 2], [3, 4], {"a": "x"}):
        await server.client.submit("add", payload)
    async with server.worker(APP, "--max-jobs", "3", "--slots", "1", *flags) as worker:
        code, printed = await worker.ended()
        assert code == 0
        assert worker.said == ""
        return printed


async def test_json_lines_are_the_ends_as_objects(server: Server) -> None:
    ends = [json.loads(line) for line in (await run_three(server, "-o", "jsonl")).splitlines()]
    assert [end["outcome"] for end in ends] == ["COMPLETED", "COMPLETED", "FAILED"]
    assert ends[2]["error"]["type"] == "PAYLOAD_MISMATCH"


async def test_json_is_one_document(server: Server) -> None:
    document = json.loads(await run_three(server, "-o", "json"))
    assert [end["outcome"] for end in document["jobs"]] == ["COMPLETED", "COMPLETED", "FAILED"]


async def test_json_is_one_document_also_when_there_was_no_job_and_a_signal(server: Server) -> None:
    async with server.worker(APP, "-o", "json", "--worker-id", "w-1") as worker:
        while not await server.workers():
            pass
        worker.send(signal.SIGTERM)
        code, printed = await worker.ended()
        assert (code, json.loads(printed)) == (0, {"jobs": []})


async def test_ids_are_for_xargs_and_none_is_silence(server: Server) -> None:
    ids = (await run_three(server, "-o", "id", "-q")).split()
    assert ids == [found.job_id async for found in server.client.jobs()][::-1]
    assert await run_three(server, "-o", "none", "-q") == ""


async def test_a_terminal_gets_a_symbol_and_a_word_in_colour(server: Server) -> None:
    await server.client.submit("add", [1, 2])
    environ = {**os.environ, "JOBWIRE_ADDRESS": server.address, "TERM": "xterm", "PYTHONPATH": str(REPOSITORY)}
    environ.pop("NO_COLOR", None)
    line = [*JOBWIRE, "work", APP, "--max-jobs", "1"]
    code, shown = await asyncio.to_thread(lambda: Terminal(columns=200).run(line, environ, folder=REPOSITORY))
    assert code == 0
    assert "\x1b[32m✓ completed\x1b[0m" in shown
    assert re.search(r"\d\d:\d\d:\d\d  ✓ completed  \S+  add  attempt 1/20  \S+  1 B", without_escapes(shown))


# --- the server -----------------------------------------------------------------------------------------------------


async def test_a_server_that_is_not_there_is_waited_for_and_said_once() -> None:
    with TemporaryDirectory(prefix="jw-") as folder:
        server = Server(Path(folder))
        async with server.worker(APP) as worker:
            await worker.says("WARNING jobwire.worker: Cannot reach the server at unix:.* The worker waits for it")
            await server.start()
            assert await server.result("add", [1, 2]) == 3
            assert worker.said.count("Cannot reach") == 1
        await server.stop()


async def test_whoever_does_not_want_to_wait_is_told_at_once() -> None:
    with TemporaryDirectory(prefix="jw-") as folder:
        worker = await Worker.start(f"unix:{folder}/nobody", *JOBWIRE, "work", APP, "--no-wait")
        assert (await worker.ended())[0] == 9
        assert worker.said.startswith("error[SERVER_UNREACHABLE] cannot reach the server at unix:")
        await worker.destroy()


async def test_a_worker_outlives_its_server_and_goes_on_with_the_next_one(server: Server) -> None:
    async with server.worker(APP) as worker:
        assert await server.result("add", [1, 2]) == 3
        assert server._process is not None
        await server._process.destroy()
        await server.start()
        assert await server.result("add", [2, 2]) == 4
        worker.send(signal.SIGTERM)
        assert (await worker.ended())[0] == 0


async def test_a_server_that_refuses_the_worker_ends_it_with_an_error(server: Server) -> None:
    async with server.worker(APP, "--worker-id", "n" * 300) as worker:
        assert (await worker.ended())[0] == 2
        assert "error[FIELD_INVALID]" in worker.said
        assert "worker_id" in worker.said


async def test_the_servers_list_of_workers_shows_how_busy_they_are(server: Server, notes: Notes, go: Path) -> None:
    environ = {**os.environ, "JOBWIRE_ADDRESS": server.address}
    async with server.worker(APP, "--worker-id", "w-1", "--slots", "3", "--queue", "default", "--queue", "mail"):
        await server.client.submit("wait", waiting(notes, go))
        await notes.line()
        (info,) = await server.workers()
        assert (info.worker_id, info.connected, info.in_flight, info.max_in_flight) == ("w-1", True, 1, 3)
        assert (sorted(info.queues), info.types) == (
            ["default", "mail"],
            ("add", "chain", "fail", "grow", "pid", "wait"),
        )
        done = await asyncio.to_thread(
            subprocess.run, [*JOBWIRE, "worker", "list"], env=environ, capture_output=True, text=True, check=True
        )
        assert re.search(r"● connected  w-1 +1/3 +\S+Z  default,mail  add,chain,fail,grow,pid,wait", done.stdout)


# --- programs -------------------------------------------------------------------------------------------------------


async def test_a_program_runs_jobs_of_a_type(server: Server) -> None:
    async with server.worker("hello", "--", "sh", "-c", 'printf "Hello, $(cat)"') as worker:
        await worker.says(r"worker \S+ · type hello · 1 slot · every queue · \S+ · payload → stdin · result ← stdout")
        assert await server.result("hello", "Ada") == 'Hello, "Ada"'
        worker.send(signal.SIGTERM)
        assert (await worker.ended())[0] == 0


async def test_the_exit_code_of_a_program_decides_what_becomes_of_its_job(server: Server) -> None:
    soon = RetryPolicy(max_attempts=2, backoff_multiplier=1.0, jitter=0.0)
    async with server.worker("code", "--", "sh", "-c", "code=$(cat); echo gone $code >&2; exit $code"):
        for code, attempts, error in ((65, 1, "Fail"), (75, 2, "Retry"), (3, 2, "EXIT_3")):
            job = await server.client.submit("code", code, retry=soon)
            ended = await job.wait()
            assert ended.status.state is JobState.FAILED
            assert ended.status.attempt == attempts
            assert ended.status.last_error is not None
            assert ended.status.last_error.type == error
            assert ended.status.last_error.message == f"exit code {code}: gone {code}"
            assert ended.status.last_error.detail == f"gone {code}\n"


async def test_a_program_goes_on_where_an_earlier_attempt_left_off(server: Server, notes: Notes) -> None:
    script = 'echo "checkpoint \\"third\\"" >&3; echo began ${JOBWIRE_CHECKPOINT-nothing} > "$1"; exec sleep 3600'
    program = ("step", "--grace", "1ms", "--", "sh", "-c", script, "sh", str(notes.path))
    job = await server.client.submit("step", max_attempts=1)
    async with server.worker(*program) as worker:
        assert await notes.line() == ["began", "nothing"]
        worker.send(signal.SIGTERM)
        assert (await worker.ended())[0] == 0
    async with server.worker(*program):
        assert await notes.line() == ["began", '"third"']
        await job.cancel(reason="enough")
        ended = await job.wait()
        assert ended.status.state is JobState.CANCELLED
