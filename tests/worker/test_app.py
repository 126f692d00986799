"""Registering handlers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobwire.app import App, load_app
from jobwire.worker.handler import Runner


def test_a_decorated_function_is_still_a_function() -> None:
    app = App("shop")

    @app.job("add")
    def add(a: int, b: int = 1) -> int:
        """Add."""
        return a + b

    assert add(2, b=3) == 5
    assert add.__doc__ == "Add."
    assert app.handlers["add"] is add


def test_a_bare_decorator_names_the_type_after_module_and_function() -> None:
    app = App("shop")

    @app.job
    def thumbnail(path: str) -> None: ...

    assert list(app.handlers) == [
        f"{__name__}.test_a_bare_decorator_names_the_type_after_module_and_function.<locals>.thumbnail"
    ]


def test_the_runner_follows_the_kind_of_function_unless_it_is_named() -> None:
    app = App("shop")

    @app.job("plain")
    def plain() -> None: ...

    @app.job("coroutine")
    async def coroutine() -> None: ...

    @app.job("apart", runner="process", timeout="1h30m", queue="slow")
    async def apart() -> None: ...

    runners = {name: handler.runner for name, handler in app.handlers.items()}
    assert runners == {"plain": Runner.THREAD, "coroutine": Runner.ASYNC, "apart": Runner.PROCESS}
    assert (apart.timeout_seconds, apart.queue) == (5400.0, "slow")


def test_two_handlers_for_one_type_are_refused() -> None:
    app = App("shop")
    app.job("a")(lambda: None)
    with pytest.raises(ValueError, match="already"):
        app.job("a")(lambda: None)


@pytest.mark.parametrize("runner", ["async", "thread"])
def test_a_runner_that_cannot_run_the_function_is_refused(runner: str) -> None:
    async def coroutine() -> None: ...

    def plain() -> None: ...

    misfit = plain if runner == "async" else coroutine
    with pytest.raises(TypeError, match="process"):
        App("shop").job("x", runner=runner)(misfit)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("jobs", "MODULE:APP"),
        ("no_such_module:app", "no module 'no_such_module'"),
        ("tests.worker.no_such_module:app", "no module"),
        ("tests.worker.child_jobs:application", "nothing called 'application'"),
        ("tests.worker.child_jobs:os", "not an App"),
        ("no/such/file.py:app", "no file"),
    ],
)
def test_an_app_that_is_not_there_is_refused_with_a_sentence(path: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        load_app(path)


def test_an_app_is_found_by_the_path_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "corner_shop.py"
    file.write_text("from jobwire import App\napp = App('corner')\n\n@app.job('sell')\ndef sell() -> None: ...\n")

    first, second = load_app(f"{file}:app"), load_app(f"{file}:app")

    assert set(first.handlers) == {"sell"}
    assert second is first, "a file is imported once"


def test_importing_the_app_module_does_not_import_grpc() -> None:
    code = "import sys, jobwire.app, jobwire.worker.child; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
