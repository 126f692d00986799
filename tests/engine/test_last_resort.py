"""A process that takes too long to end is ended where it stands."""

from __future__ import annotations

import subprocess
import sys

BLOCKED = """
import threading
from jobwire_server.kernel.last_resort import last_resort
from jobwire_server.kernel.telemetry import SilentLog

with last_resort(SilentLog())({seconds}, 7):
    {body}
"""


def exit_code(seconds: float, body: str) -> int:
    """Exit code of a process that does `body` under a last resort."""
    program = BLOCKED.format(seconds=seconds, body=body)
    return subprocess.run([sys.executable, "-c", program], check=False, timeout=30).returncode


def test_what_waits_for_ever_is_ended_with_the_code_that_was_asked_for() -> None:
    assert exit_code(0.05, "threading.Event().wait()") == 7


def test_what_ends_in_time_ends_by_itself() -> None:
    assert exit_code(20, "pass") == 0
