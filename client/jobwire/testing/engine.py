"""The engine's process: started once for many tests, told what to do line by line."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

from jobwire.errors import JobwireError

PLUGIN_GROUP: Final = "jobwire.testing"
END_SECONDS: Final = 10.0
"""How long an engine may take to end when its input has; then it is killed."""


class EngineUnavailable(JobwireError):
    """There is no engine to test with: the server's package is not installed."""

    reason = "ENGINE_UNAVAILABLE"
    advice = "pip install jobwire, with the server, in the environment of the tests"


class EngineFailed(JobwireError):
    """The engine could not do what it was told, or is gone."""

    reason = "ENGINE_FAILED"


class EngineProcess:
    """A process that runs one service after another. Starts when it is first asked for something; thread-safe.

    It is a process of its own because gRPC's asyncio API wants one event loop a process, and in tests that is the
    test's own. It ends with `close`, and with this process, however that ends.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._guard = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, do: str, **fields: Any) -> Mapping[str, Any]:
        """Have one thing done, and return the engine's answer. Raises EngineUnavailable, EngineFailed."""
        with self._guard:
            process = self._process
            if process is None:
                process = self._process = _start()
            answer = _exchange(process, {"do": do, **fields})
        if "error" in answer:
            raise EngineFailed(f"The engine of the tests could not do {do!r}. {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process and all that runs in it. Again is fine, and so is asking anew."""
        with self._guard:
            process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it is gone, and did not read the last line
            process.stdin.close()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _start() -> subprocess.Popen[str]:
    points = importlib.metadata.entry_points(group=PLUGIN_GROUP, name="engine")
    for point in points:
        return subprocess.Popen(  # noqa: S603 (what the installed package names)
            [sys.executable, "-m", point.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl+C is for the tests: they end the engine
        )
    raise EngineUnavailable("The engine that tests run on comes with the server of jobwire, which is not installed.")


def _exchange(process: subprocess.Popen[str], request: Mapping[str, Any]) -> Mapping[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except OSError:
        line = ""
    if not line:
        raise EngineFailed("The process of the engine has ended. What it said last stands on stderr.")
    answer: Mapping[str, Any] = json.loads(line)
    return answer
