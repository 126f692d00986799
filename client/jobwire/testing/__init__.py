"""Tests for applications that use jobwire, on the real engine: its server, its store, its leases, its reports.

    def test_a_signup_sends_a_mail(jobwire):              # the fixture comes with the package
        signup("ada@example.org")
        jobwire.assert_submitted("email.send", to="ada@example.org")

        done = jobwire.drain()                            # runs what is due now, in this process

        assert done.succeeded == 1

Nothing is emulated, so there is no eager mode. The fixture is a `Jobwire`; `running()` makes one without pytest.
Handlers alone, without any engine, are called with `call` (`acall` where they are async) and a `context`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobwire.testing.alone import ProgressCall as ProgressCall
    from jobwire.testing.alone import RecordingContext as RecordingContext
    from jobwire.testing.alone import acall as acall
    from jobwire.testing.alone import call as call
    from jobwire.testing.alone import context as context
    from jobwire.testing.drain import Drained as Drained
    from jobwire.testing.engine import EngineFailed as EngineFailed
    from jobwire.testing.engine import EngineProcess as EngineProcess
    from jobwire.testing.engine import EngineUnavailable as EngineUnavailable
    from jobwire.testing.kit import Jobwire as Jobwire
    from jobwire.testing.kit import running as running
    from jobwire.testing.submitted import Submitted as Submitted

_HOMES = {
    "alone": ("ProgressCall", "RecordingContext", "acall", "call", "context"),
    "drain": ("Drained",),
    "engine": ("EngineFailed", "EngineProcess", "EngineUnavailable"),
    "kit": ("Jobwire", "running"),
    "submitted": ("Submitted",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605  # every name of the table, and no other


def __getattr__(name: str) -> object:
    # pytest imports this package at every start, whether a test uses jobwire or not.
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
