"""A program as the handler of a job type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from jobwire.worker.handler import Handler, Runner


class Program(Handler[..., Any]):
    """Runs jobs of one type by a program. The first word is looked for on PATH; no shell takes part."""

    def __init__(self, argv: Sequence[str], *, type: str, timeout_seconds: float | None = None) -> None:  # noqa: A002
        if not argv:
            raise ValueError("A program needs a name.")
        super().__init__(_refuse, type=type, timeout_seconds=timeout_seconds, runner=Runner.PROGRAM)
        self.argv = tuple(argv)

    def __repr__(self) -> str:
        return f"<Program {self.type!r}: {' '.join(self.argv)}>"


def _refuse(*_: object, **__: object) -> NoReturn:
    raise TypeError("A program is no function: only a worker runs it.")
