"""The command line `jobwire`.

Nothing heavy is imported before it is needed: `jobwire --help` costs click alone, neither gRPC nor rich nor the
server (a test counts the modules).
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (the process's own when none is given) and return its exit code."""
    from jobwire.cli.entry import run_command_line  # noqa: PLC0415 - `import jobwire.cli` stays free

    return run_command_line(arguments)
