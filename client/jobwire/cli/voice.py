"""What `jobwire work` says, and where: talk on stderr, data on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from jobwire.cli.invocation import Invocation, Output
from jobwire.cli.output import compact
from jobwire.worker.observed import Ended
from jobwire.worker.process import Ears
from jobwire.worker.telling import Lines, document_of, line_for_people, line_for_pipes, ready_line

_DATA = frozenset({Output.JSON, Output.JSONL, Output.ID})


class Voice:
    """Tells of a worker and of each job that ends, in the format that the flags ask for."""

    def __init__(self, invocation: Invocation, facts: Sequence[str]) -> None:
        """`facts`: what people are told of the worker when it is ready."""
        self._invocation = invocation
        self._facts = facts
        self._output = invocation.output.nearest
        self._talk = None if invocation.quiet else Lines(invocation.stderr)
        self._data = Lines(invocation.stdout) if self._output in _DATA else None
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say what is left, and close a JSON document that was begun; an error before its first job leaves none."""
        if self._output is Output.JSON and self._data is not None and (self._count or error is None):
            self._data.write("]}" if self._count else '{"jobs": []}')
        for lines in (self._data, self._talk):
            if lines is not None:
                lines.close()

    def ears(self) -> Ears:
        """Whom the worker has to tell."""
        return Ears(on_ready=self._ready, on_end=self._ended if self._data or self._talk else None)

    def _ready(self, worker_id: str) -> None:
        if self._talk is not None:
            self._talk.write(ready_line(worker_id, self._facts))

    def _ended(self, ended: Ended) -> None:
        self._count += 1
        if self._data is not None:
            self._data.write(self._datum(ended))
        elif self._talk is not None and self._output is Output.TABLE:
            self._talk.write(self._line(ended))

    def _datum(self, ended: Ended) -> str:
        if self._output is Output.ID:
            return ended.assignment.job_id
        document = compact(document_of(ended))
        if self._output is Output.JSONL:
            return document
        return ('{"jobs": [\n  ' if self._count == 1 else "  ,") + document

    def _line(self, ended: Ended) -> str:
        stderr = self._invocation.stderr
        now = datetime.fromtimestamp(self._invocation.wall_seconds(), UTC)
        if stderr.isatty():
            return line_for_people(ended, now, coloured=self._invocation.coloured(stderr))
        return line_for_pipes(ended, now)
