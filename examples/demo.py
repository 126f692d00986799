"""`make demo`: one job for each file of a folder, a `kill -9` of the server in the middle, and nothing lost.

    make demo                 the files of this repository
    make demo DIR=~/Pictures  the files of another folder

A server starts on a fresh SQLite file; every file becomes a job of `examples/files.py`; a watch stream shows what
happens. When 40 % of the jobs are done, the server is killed with SIGKILL and started again. The watch goes on by
itself, jobs that were running run again, and the table at the end is read from the store.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from jobwire import Client, JobFilter, JobState, Submission, decode
from jobwire.models import WatchCursor

ROOT = Path(__file__).resolve().parent.parent
APP = "examples.files:app"
SLOTS = 4
PAUSES_SECONDS = 6.0
"""Most files are read in a millisecond: pauses of so much in all (over all slots) let people watch."""
KILL_AT = 0.4
SHOWN_ROWS = 15
LIMIT = "100s"


def main() -> int:
    """Run the demo; the exit code is 0 when every job is COMPLETED."""
    folder = Path(os.environ.get("DIR") or ROOT).expanduser().resolve()
    if not folder.is_dir():
        print(f"There is no folder {folder}: make demo DIR=folder", file=sys.stderr)
        return 2
    files = sorted(files_of(folder))
    if not files:
        print(f"There are no files to read in {folder}.", file=sys.stderr)
        return 2
    data = Path(tempfile.mkdtemp(prefix="demo-", dir=ROOT))
    try:
        with Server(data) as server, Client(server.address, deadline="30s") as client:
            is_well = Demo(client, server, folder, files).run()
    except BaseException:
        print(f"The store and the server's log are kept in {data}", file=sys.stderr)
        raise
    if is_well:
        shutil.rmtree(data)
    else:
        print(f"The store and the server's log are kept in {data}", file=sys.stderr)
    return 0 if is_well else 1


def files_of(folder: Path) -> Iterator[Path]:
    """The folder's readable files: what git tracks of this repository, else everything but hidden folders."""
    tracked = subprocess.run(
        ["git", "-C", str(folder), "ls-files", "-z"], capture_output=True, check=False
    ).stdout.split(b"\0") if folder == ROOT and shutil.which("git") else []  # fmt: skip
    names = [os.fsdecode(name) for name in tracked if name]
    paths = [folder / name for name in names] if names else _walk(folder)
    for path in paths:
        if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
            yield path


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "demo-")) and name != "__pycache__"]
        yield from (Path(place, name) for name in names)


class Server:
    """A `jobwire serve` of its own, on a fresh SQLite file."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.address = f"127.0.0.1:{_free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()

    def start(self) -> None:
        """Start it, and return when it says that it is ready."""
        program = Path(sys.executable).with_name("jobwire")
        arguments = ["serve", "--listen", self.address, "--db", self._data / "jobs.db", "--app", APP, "--slots", SLOTS]
        self._process = subprocess.Popen(
            [program, *map(str, arguments)], cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert self._process.stderr is not None
        with (self._data / "server.log").open("ab") as log:
            for line in self._process.stderr:
                log.write(line)
                if line.startswith(b"ready"):
                    break
            else:
                raise RuntimeError(f"the server did not start: see {self._data / 'server.log'}")
        threading.Thread(target=_drain, args=(self._process.stderr, self._data / "server.log"), daemon=True).start()

    def kill(self) -> int:
        """`kill -9`; return the process id that is no more."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        return self._process.pid


def _drain(stderr: IO[bytes], path: Path) -> None:
    with path.open("ab") as log:
        shutil.copyfileobj(stderr, log)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Demo:
    """The story: submit, watch, kill, start again, count."""

    def __init__(self, client: Client, server: Server, folder: Path, files: list[Path]) -> None:
        self._client = client
        self._server = server
        self._folder = folder
        self._files = files
        self._mine = JobFilter(labels={"demo": uuid.uuid4().hex})
        self._states: dict[str, JobState] = {}
        self._time_to_kill = threading.Event()
        self._console = Console(width=None if sys.stdout.isatty() else 120)
        self._told_tenths = 0
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(), console=self._console, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._bar = self._progress.add_task("files", total=len(files), note="")

    def run(self) -> bool:
        """Play it; True when every job is COMPLETED."""
        self._console.print(f"server at {self._server.address} · {len(self._files)} files of {self._folder}")
        start = self._client.server_info().current
        watcher = _Watcher(self, start)
        with self._progress:
            watcher.start()
            submitted = self._submit()
            self._say(f"{len(submitted)} jobs submitted: they are on disk")
            self._time_to_kill.wait()
            self._kill_and_start_again()
            watcher.join()
        if watcher.error is not None:
            raise watcher.error
        return self._report(submitted)

    def _submit(self) -> list[str]:
        pace = min(0.5, PAUSES_SECONDS * SLOTS / len(self._files))
        payloads = ({"path": str(file), "pace_seconds": pace if pace > 0.002 else 0.0} for file in self._files)
        labels = dict(self._mine.labels)
        results = self._client.submit_each((Submission("file.digest", payload) for payload in payloads), labels=labels)
        return [result.unwrap().id for result in results]

    def _kill_and_start_again(self) -> None:
        pid = self._server.kill()
        done = self._completed()
        self._say(f"kill -9 {pid}, with {done} jobs done and {len(self._files) - done} running or waiting")
        self._server.start()
        report = self._client.server_info().recovery
        returned = report.returned_count if report is not None else 0
        self._say(f"started again: recovery put {_jobs(returned, 'interrupted ')} back; the watch goes on")

    def watch(self, start: WatchCursor | None) -> None:
        """Take in every change until all jobs have ended. Cuts and restarts do not show here."""
        for event in self._client.watch(self._mine, after=start, progress=True, timeout=LIMIT):
            self._states[event.job_id] = event.status.state
            done = self._completed()
            self._progress.update(self._bar, completed=done, note=event.status.progress_message)
            self._tell_tenths(done)
            if done >= KILL_AT * len(self._files):
                self._time_to_kill.set()
            if done == len(self._files) or self._all_ended():
                return

    def _tell_tenths(self, done: int) -> None:
        """Progress for a pipe, where no bar can move."""
        tenths = 10 * done // len(self._files)
        if not self._console.is_terminal and tenths > self._told_tenths:
            self._told_tenths = tenths
            self._say(f"{done:6} of {len(self._files)} done")

    def _completed(self) -> int:
        return sum(state is JobState.COMPLETED for state in list(self._states.values()))

    def _all_ended(self) -> bool:
        states = list(self._states.values())
        return len(states) == len(self._files) and all(state.is_terminal for state in states)

    def give_up(self) -> None:
        """Wake who waits for a moment that will not come."""
        self._time_to_kill.set()

    def _say(self, sentence: str) -> None:
        self._progress.console.print(sentence, highlight=False)

    def _report(self, submitted: list[str]) -> bool:
        """Read everything from the store again and count."""
        jobs = {job.job_id: job for job in self._client.jobs(self._mine, page_size=1000)}
        again = [job_id for job_id in submitted if job_id in jobs and jobs[job_id].status.attempt > 1]
        self._console.print(self._table(submitted, again))
        counts = Counter(jobs[job_id].state for job_id in submitted if job_id in jobs)
        lost = sum(job_id not in jobs or not jobs[job_id].state.is_terminal for job_id in submitted)
        completed = counts[JobState.COMPLETED]
        others = len(submitted) - completed - lost
        self._console.print(f"{_jobs(len(again), 'interrupted ')} ran a second time", highlight=False)
        failed = f", {others} failed" if others else ""
        self._console.print(
            f"{len(submitted)} submitted, {completed} completed{failed}, {lost} lost", style="bold", highlight=False
        )
        return completed == len(submitted)

    def _table(self, submitted: list[str], again: list[str]) -> Table:
        """Some of the jobs, interrupted ones first."""
        table = Table(
            Column("file", overflow="fold", min_width=30), "type", "bytes", "lines", "words", "sha256", "attempts"
        )
        step = max(1, len(submitted) // SHOWN_ROWS)
        shown = list(dict.fromkeys([*again[:3], *submitted[::step]]))[:SHOWN_ROWS]
        for job in self._client.get_many(shown, full=True):
            if job is None or job.status.result is None:
                table.add_row("?", "no result", *[""] * 5)
                continue
            result: dict[str, Any] = decode(job.status.result)
            path = Path(result["path"]).relative_to(self._folder)
            table.add_row(
                str(path), result["type"], f"{result['bytes']:,}", f"{result['lines']:,}", f"{result['words']:,}",
                result["sha256"][:12], str(job.status.attempt),
            )  # fmt: skip
        if len(submitted) > len(shown):
            table.add_row(f"… and {len(submitted) - len(shown)} more", *[""] * 6)
        return table


def _jobs(count: int, adjective: str) -> str:
    return f"{count} {adjective}{'job' if count == 1 else 'jobs'}"


class _Watcher(threading.Thread):
    """Watches in a thread of its own, and keeps its error for who joins it."""

    def __init__(self, demo: Demo, start: WatchCursor | None) -> None:
        super().__init__(name="watcher", daemon=True)
        self._demo = demo
        self._start = start
        self.error: BaseException | None = None

    def run(self) -> None:
        """See `threading.Thread`."""
        try:
            self._demo.watch(self._start)
        except BaseException as error:  # noqa: BLE001 - handed to the main thread, which raises it
            self.error = error
        finally:
            self._demo.give_up()


if __name__ == "__main__":
    sys.exit(main())
