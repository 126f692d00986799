"""What the doctor makes of facts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobwire.cli.faults import ExitCode
from jobwire.cli.findings import (
    Finding,
    Level,
    Speech,
    exit_code_of,
    failed,
    fine,
    judge_certificate,
    judge_clocks,
    judge_recovery,
    judge_speech,
    judge_versions,
    judge_workers,
    skipped,
    speech_of,
    warning,
)
from jobwire.cli.probing import Endpoint, endpoint_of


@pytest.mark.parametrize(
    ("answer", "speech"),
    [
        (None, Speech.SILENT),
        (b"", Speech.CLOSED),
        (b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", Speech.HTTP2),
        (b"\x00\x00\x00", Speech.FOREIGN),
        (b"\x00\x00\x00\x07\x00\x00\x00\x00\x00", Speech.FOREIGN),
        (b"\x15\x03\x01\x00\x02", Speech.TLS),
        (b"\x16\x03\x03", Speech.TLS),
        (b"HTTP/1.1 400", Speech.HTTP1),
        (b"SSH-2.0-Open", Speech.FOREIGN),
    ],
)
def test_the_first_bytes_tell_who_is_there(answer: bytes | None, speech: Speech) -> None:
    assert speech_of(answer) is speech


@pytest.mark.parametrize("speech", Speech)
def test_only_http2_is_fine_where_no_tls_is_meant_to_be(speech: Speech) -> None:
    finding = judge_speech(speech)

    assert (finding.level is Level.OK) == (speech is Speech.HTTP2)
    assert bool(finding.advice) == (speech is not Speech.HTTP2)


@pytest.mark.parametrize(
    ("client", "server", "level"),
    [
        ("0.1.0", "0.1.9", Level.OK),
        ("0.1.0", "0.2.0", Level.OK),
        ("0.1.0", "0.3.0", Level.WARNING),
        ("1.0.0", "2.0.0", Level.WARNING),
        ("0.1.0", "unknown", Level.OK),
    ],
)
def test_one_release_apart_is_fine(client: str, server: str, level: Level) -> None:
    assert judge_versions(client, server).level is level


def test_the_older_side_is_to_be_upgraded() -> None:
    assert judge_versions("0.1.0", "0.9.0").advice == ("upgrade this client",)
    assert judge_versions("0.9.0", "0.1.0").advice == ("upgrade the server",)


@pytest.mark.parametrize(
    ("ahead", "uncertainty", "level"),
    [(0.0, 0.1, Level.OK), (2.0, 0.0, Level.OK), (2.1, 0.0, Level.WARNING), (-2.1, 0.0, Level.WARNING),
     (9.0, 8.0, Level.OK)],
)  # fmt: skip
def test_clocks_are_apart_when_a_slow_answer_does_not_explain_it(
    ahead: float, uncertainty: float, level: Level
) -> None:
    finding = judge_clocks(timedelta(seconds=ahead), timedelta(seconds=uncertainty))

    assert finding.level is level
    if level is Level.WARNING:
        assert ("ahead of" if ahead > 0 else "behind") in finding.text


def test_a_certificate_is_warned_of_two_weeks_before_its_end() -> None:
    assert judge_certificate(timedelta(days=14), text="TLSv1.3").level is Level.OK
    assert judge_certificate(timedelta(days=13), text="TLSv1.3").level is Level.WARNING


def test_nobody_who_works_is_a_warning_and_workers_that_are_away_do_not_count() -> None:
    assert judge_workers([], more=False).level is Level.WARNING
    assert judge_workers([(False, 0, 4)], more=False).level is Level.WARNING
    assert judge_workers([(False, 0, 4)], more=True).level is Level.OK
    assert (
        judge_workers([(True, 1, 4), (False, 0, 4)], more=False).text == "1 connected, with 1 of 4 jobs that they want"
    )


def test_jobs_that_recovery_had_to_fail_are_pointed_at() -> None:
    assert judge_recovery(failed_count=0, returned_count=3).level is Level.OK
    assert "job list --state failed" in judge_recovery(failed_count=2, returned_count=0).advice[0]


def test_the_exit_code_is_that_of_the_first_failure_and_warnings_are_none() -> None:
    findings: list[Finding] = [fine("a", ""), warning("b", ""), skipped("c", "")]
    assert exit_code_of(findings) is ExitCode.DONE

    findings += [failed("d", "", exit_code=ExitCode.NOT_ALLOWED), failed("e", "")]
    assert exit_code_of(findings) is ExitCode.NOT_ALLOWED


@pytest.mark.parametrize(
    ("target", "endpoint"),
    [
        ("h:1", Endpoint(host="h", port=1)),
        ("dns:///h:1", Endpoint(host="h", port=1)),
        ("dns:h:1", Endpoint(host="h", port=1)),
        ("ipv4:1.2.3.4:5", Endpoint(host="1.2.3.4", port=5)),
        ("[::1]:5", Endpoint(host="::1", port=5)),
        ("unix:/a/b", Endpoint(path="/a/b")),
        ("unix:///a/b", Endpoint(path="/a/b")),
        ("unix-abstract:x", Endpoint(path="\0x")),
        ("xds:///service", None),
    ],
)
def test_a_target_leads_to_a_host_or_a_socket(target: str, endpoint: Endpoint | None) -> None:
    assert endpoint_of(target) == endpoint
