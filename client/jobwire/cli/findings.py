"""What `jobwire doctor` makes of what it sees. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, StrEnum
from typing import Any

from jobwire.cli.faults import ExitCode
from jobwire.durations import span_text

CLOCKS_APART = timedelta(seconds=2)
"""More than this between two clocks is worth a warning."""
CERTIFICATE_ENDS_SOON = timedelta(days=14)


class Level(StrEnum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"
    """It could not be asked, because of another one that failed, or does not apply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor's report."""

    check: str
    level: Level
    text: str
    advice: tuple[str, ...] = ()
    """What to do now, one proposal each."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """For programs."""
    exit_code: ExitCode = ExitCode.DONE

    def as_document(self) -> dict[str, Any]:
        """One object for a program."""
        return {
            "check": self.check,
            "level": str(self.level),
            "text": self.text,
            "advice": list(self.advice),
            "facts": dict(self.facts),
        }


def fine(check: str, text: str, **facts: Any) -> Finding:
    """Say that all is well."""
    return Finding(check=check, level=Level.OK, text=text, facts=facts)


def warning(check: str, text: str, *advice: str, **facts: Any) -> Finding:
    """Say that something works and yet is not as it should be."""
    return Finding(check=check, level=Level.WARNING, text=text, advice=advice, facts=facts)


def failed(check: str, text: str, *advice: str, exit_code: ExitCode = ExitCode.UNREACHABLE, **facts: Any) -> Finding:
    """Say that something does not work."""
    return Finding(check=check, level=Level.FAILED, text=text, advice=advice, facts=facts, exit_code=exit_code)


def skipped(check: str, why: str) -> Finding:
    """Say that nothing can be said."""
    return Finding(check=check, level=Level.SKIPPED, text=why)


# --- who answers -----------------------------------------------------------------------------------------------------


class Speech(Enum):
    """What the other side of a connection speaks, by the first bytes that it sends."""

    HTTP2 = "HTTP/2 without TLS, as gRPC does"
    TLS = "TLS"
    HTTP1 = "HTTP/1, so it is no gRPC server"
    SILENT = "nothing"
    CLOSED = "nothing, and it hung up"
    FOREIGN = "no HTTP/2"


_FRAME_HEADER_BYTES = 9
_SETTINGS_FRAME = 4


def speech_of(answer: bytes | None) -> Speech:
    """Tell from the answer to an HTTP/2 preface. None = none came in time, empty = the connection was closed."""
    if answer is None:
        return Speech.SILENT
    if not answer:
        return Speech.CLOSED
    if answer[:1] in {b"\x15", b"\x16"} and answer[1:2] == b"\x03":  # an alert or a handshake, of TLS 1.x
        return Speech.TLS
    if answer.startswith(b"HTTP/1"):
        return Speech.HTTP1
    if len(answer) >= _FRAME_HEADER_BYTES and answer[3] == _SETTINGS_FRAME:
        return Speech.HTTP2
    return Speech.FOREIGN


def judge_speech(speech: Speech) -> Finding:
    """Judge what answers where no TLS is meant to be."""
    text = f"the other side speaks {speech.value}"
    match speech:
        case Speech.HTTP2:
            return fine("protocol", text)
        case Speech.TLS:
            return failed("protocol", f"{text}, and this client was told not to",
                          "say whom to trust:   --tls-ca FILE   (or --tls for a public authority)",
                          "keep it:   jobwire config set tls_ca FILE")  # fmt: skip
        case Speech.SILENT:
            return failed("protocol", "the other side takes the connection and says nothing",
                          "it hangs, or is no gRPC server: look at the process that listens there")  # fmt: skip
        case _:
            return failed("protocol", text, "another program listens there: check the port   (jobwire: 7780)")


# --- judgements ------------------------------------------------------------------------------------------------------


def judge_certificate(ends_in: timedelta, *, text: str, **facts: Any) -> Finding:
    """Judge the time that a certificate still has; `text` names the handshake."""
    days = ends_in / timedelta(days=1)
    if ends_in < CERTIFICATE_ENDS_SOON:
        return warning("tls", f"{text}; the server's certificate ends in {days:.1f} days", "renew it", **facts)
    return fine("tls", f"{text}; the server's certificate ends in {days:.0f} days", **facts)


def judge_versions(client: str, server: str) -> Finding:
    """Judge whether two versions are meant for each other: one minor version apart is fine."""
    text = f"the server is jobwire {server}"
    ours, theirs = _release(client), _release(server)
    if ours is None or theirs is None or ours == theirs:
        return fine("version", text, client=client, server=server)
    if ours[0] == theirs[0] and abs(ours[1] - theirs[1]) <= 1:
        return fine("version", f"{text}, this client {client}", client=client, server=server)
    older = "this client" if ours < theirs else "the server"
    return warning("version", f"{text}, this client {client}: more than one release apart", f"upgrade {older}",
                   client=client, server=server)  # fmt: skip


def _release(version: str) -> tuple[int, int] | None:
    parts = version.split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return None
    return int(parts[0]), int(parts[1])


def judge_clocks(ahead: timedelta, uncertainty: timedelta) -> Finding:
    """Judge how far the server's clock is ahead of ours, `uncertainty` to either side."""
    seconds = ahead.total_seconds()
    facts = {"ahead_seconds": round(seconds, 4), "uncertainty_seconds": round(uncertainty.total_seconds(), 4)}
    if abs(ahead) - uncertainty <= CLOCKS_APART:
        return fine(
            "clock", f"the server's clock and this one agree (within {max(abs(seconds), 0.001):.3f} s)", **facts
        )
    side = "ahead of" if ahead > timedelta(0) else "behind"
    return warning("clock", f"the server's clock is {span_text(abs(seconds))} {side} this one",
                   "set the clocks by NTP: --delay, --at now+1h and --expires are reckoned by this machine's clock, "
                   "leases and retries by the server's", **facts)  # fmt: skip


def judge_recovery(*, failed_count: int, returned_count: int) -> Finding:
    """Judge what the server's last start found."""
    facts = {"failed_count": failed_count, "returned_count": returned_count}
    if failed_count:
        return warning("recovery", f"at its last start the server had to fail {failed_count} jobs",
                       "look at them:   jobwire job list --state failed", **facts)  # fmt: skip
    return fine("recovery", f"its last start put back {returned_count} jobs and failed none", **facts)


def judge_pool(trouble: str) -> Finding:
    """Judge the server's own pool, which says that something is wrong with it."""
    return warning("pool", f"the server's own pool runs no jobs: {trouble}",
                   "the server's log has more:   look for pool.", trouble=trouble)  # fmt: skip


def judge_workers(workers: Sequence[tuple[bool, int, int]], *, more: bool) -> Finding:
    """Judge who runs jobs, by (connected, jobs held, jobs wanted at once); `more`: there are others."""
    connected = [each for each in workers if each[0]]
    held, wanted = sum(each[1] for each in connected), sum(each[2] for each in connected)
    facts = {"connected": len(connected), "in_flight": held, "max_in_flight": wanted, "known": len(workers)}
    if not connected and not more:
        return warning("workers", "no worker is connected: jobs wait",
                       "start one:   jobwire work TYPE -- PROGRAM   or   jobwire work MODULE:APP", **facts)  # fmt: skip
    text = f"{len(connected)}{' or more' if more else ''} connected, with {held} of {wanted} jobs that they want"
    return fine("workers", text, **facts)


def exit_code_of(findings: Sequence[Finding]) -> ExitCode:
    """Return what the first failure says; 0 without one, warnings or not."""
    return next((each.exit_code for each in findings if each.level is Level.FAILED), ExitCode.DONE)
