"""A PgBouncer in transaction mode in front of a PostgreSQL: sessions are lent for one transaction at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from tests.helpers.postgres import PostgresServer, as_user

_CONFIG = """
[databases]
* = host={server} port=5432
[pgbouncer]
pool_mode = transaction
unix_socket_dir = {folder}
listen_addr =
listen_port = 5432
auth_type = trust
auth_file = {folder}/users
default_pool_size = {sessions}
ignore_startup_parameters = extra_float_digits
logfile = {folder}/log
server_round_robin = 1
"""


class Pooler:
    """Listens in a folder of its own, as the server does in its."""

    def __init__(self, program: str, server: PostgresServer, *, sessions: int = 6) -> None:
        self._program = program
        self._server = server
        self.folder = Path(tempfile.mkdtemp(prefix="jobwire-pooler-", dir=server.folder.parent))
        user = "nobody" if os.geteuid() == 0 else None
        (self.folder / "ini").write_text(_CONFIG.format(server=server.folder, folder=self.folder, sessions=sessions))
        (self.folder / "users").write_text('"jobwire" ""\n')
        if user is not None:
            shutil.chown(self.folder, user)
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def url(self, database: str) -> str:
        """How to reach a database through it."""
        return f"postgresql:///{database}?host={self.folder}&user=jobwire"

    def start(self) -> None:
        """Start it, and wait until it passes something on."""
        with (self.folder / "out").open("ab") as out:
            self._process = subprocess.Popen(
                as_user(self._user, self._program, str(self.folder / "ini")), stdout=out, stderr=out, cwd=self.folder
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self.folder / "out").read_text()) from None
                time.sleep(0.02)

    def kill(self) -> None:
        """End it on the spot, with everything that passes through it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            (self.folder / ".s.PGSQL.5432").unlink(missing_ok=True)

    def stop(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
