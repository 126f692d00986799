"""`jobwire doctor`, and what every command says of a server that is not there, or is another one than was meant."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.cli.conftest import Jobwire
from tests.cli.live import BIN, LiveServer, Pretender, written
from tests.cli.scripted import Refusal, ScriptedServer, Service

pytestmark = pytest.mark.timeout(120)
TLS_FILES = "--tls-ca ca.pem --tls-cert me.pem --tls-key me.key"
WORDS_OF_GRPC = re.compile(
    r"failed to connect to all|last error|UNAVAILABLE:|ipv4:127|TSI_|SSL_ERROR|OPENSSL_internal|StatusCode|recvmsg|"
    r"security handshaker|errors resolving|_InactiveRpcError|Traceback|\.cc:\d"
)


@pytest.fixture(scope="module")
def plain() -> Iterator[LiveServer]:
    with LiveServer("--port", "0") as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of one authority, and beside them the authority of others."""
    folder = tmp_path_factory.mktemp("certificates")
    written(trustme.CA(), folder, "localhost")
    trustme.CA().cert_pem.write_to_path(str(folder / "other-ca.pem"))
    stranger = trustme.CA().issue_cert("stranger")
    stranger.private_key_pem.write_to_path(str(folder / "stranger.key"))
    stranger.cert_chain_pems[0].write_to_path(str(folder / "stranger.pem"))
    (folder / "nonsense.pem").write_text("this is no certificate")
    return folder


@pytest.fixture(scope="module")
def secure(folder: Path) -> Iterator[LiveServer]:
    """A server that speaks TLS, with clients that have a certificate only."""
    with LiveServer("--port", "0", "--tls-cert", f"{folder}/server.pem", "--tls-key", f"{folder}/server.key",
                    "--tls-client-ca", f"{folder}/ca.pem") as server:  # fmt: skip
        server.address = server.address.replace("127.0.0.1", "localhost")
        yield server


@pytest.fixture(autouse=True)
def beside_the_certificates(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def examined(jobwire: Jobwire, line: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code and findings by check."""
    ran = jobwire(f"{line} doctor -o json")
    assert ran.stderr == ""
    document = json.loads(ran.stdout)
    assert document["ok"] == (ran.exit_code == 0)
    return ran.exit_code, {each["check"]: each for each in document["findings"]}


def test_all_is_well_with_a_server_that_has_no_worker_yet(jobwire: Jobwire, plain: LiveServer) -> None:
    code, found = examined(jobwire, f"-a {plain.address}")

    assert code == 0
    assert {check: each["level"] for check, each in found.items()} == {
        "client": "ok", "settings": "ok", "name": "ok", "connect": "ok", "protocol": "ok", "health": "ok",
        "version": "ok", "clock": "ok", "store": "ok", "recovery": "ok", "workers": "ok",
    }  # fmt: skip
    assert found["settings"]["facts"]["origin"] == "the flag --address"
    assert abs(found["clock"]["facts"]["ahead_seconds"]) < 60
    assert found["store"]["facts"]["kind"] == "sqlite"
    assert found["workers"]["facts"]["connected"] == 1  # dev has the built-in job types


def test_people_get_a_symbol_a_word_and_what_to_do(jobwire: Jobwire) -> None:
    ran = jobwire("-a 127.0.0.1:1 doctor")

    assert ran.exit_code == 9
    assert ran.stderr == ""
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("✓ ok       client    jobwire 0.")
    assert "✕ failed   connect   127.0.0.1:1: connection refused: nothing listens there" in lines
    assert "                     → start one:   jobwire dev" in lines
    assert lines[-1] == "– skipped  workers   no connection to ask through"


def test_a_secure_server_is_examined_with_the_dates_of_its_certificate(jobwire: Jobwire, secure: LiveServer) -> None:
    code, found = examined(jobwire, f"-a {secure.address} {TLS_FILES}")

    assert code == 0
    assert found["tls"]["level"] == "ok"
    assert re.match(r"TLSv1\.3; the server's certificate ends in \d+ days", found["tls"]["text"])
    assert found["health"]["level"] == "ok"


@pytest.mark.parametrize(
    ("flags", "check", "words", "advice", "code"),
    [
        ("", "protocol", "the other side speaks TLS, and this client was told not to", "--tls-ca FILE", 9),
        ("--tls", "tls", "the server's certificate is not trusted", "--tls-ca FILE", 9),
        ("--tls-ca other-ca.pem", "tls", "the server's certificate is not trusted", "--tls-ca FILE", 9),
        ("--tls-ca ca.pem", "tls", "wants a certificate of this client", "--tls-cert FILE", 8),
        (f"{TLS_FILES} --tls-server-name jobs.internal", "tls", "not for 'jobs.internal'", "--tls-server-name", 9),
        (
            "--tls-ca ca.pem --tls-cert stranger.pem --tls-key stranger.key",
            "tls",
            "wants another certificate",
            "--tls-cert FILE",
            8,
        ),
        ("--tls-ca ca.pem --tls-cert me.pem --tls-key stranger.key", "tls", "cannot be used", "belong together", 2),
        ("--tls-ca missing.pem", "tls", "the file of the CA, missing.pem, cannot be read", "check the path", 2),
    ],
)
def test_what_is_wrong_with_tls_is_told_with_what_mends_it(
    jobwire: Jobwire, secure: LiveServer, flags: str, check: str, words: str, advice: str, code: int
) -> None:
    exit_code, found = examined(jobwire, f"-a {secure.address} {flags}")

    assert found[check]["level"] == "failed"
    assert words in found[check]["text"]
    assert advice in " ".join(found[check]["advice"])
    assert exit_code == code
    assert found["health"]["level"] == "skipped"


def test_tls_to_a_plain_server_is_recognised(jobwire: Jobwire, plain: LiveServer) -> None:
    code, found = examined(jobwire, f"-a {plain.address} --tls-ca ca.pem")

    assert (code, found["tls"]["text"]) == (9, "the other side speaks no TLS")
    assert "--no-tls" in found["tls"]["advice"][0]


def test_a_certificate_that_is_over_or_nearly_so(jobwire: Jobwire, tmp_path: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    for days, level, words in ((-1, "failed", "has expired"), (3, "warning", "ends in 3.0 days")):
        authority = trustme.CA()
        made = authority.issue_cert("localhost", not_before=now - dt.timedelta(days=9),
                                    not_after=now + dt.timedelta(days=days))  # fmt: skip
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.configure_cert(context)

        def greet(opened: socket.socket, context: ssl.SSLContext = context) -> None:
            with context.wrap_socket(opened, server_side=True) as secure:
                secure.recv(100)
                secure.sendall(b"\0\0\0\x04\0\0\0\0\0")
                secure.recv(100)

        with Pretender(greet) as server:
            _, found = examined(
                jobwire,
                f"--timeout 1s -a {server.address.replace('127.0.0.1', 'localhost')} --tls-ca {tmp_path}/ca.pem",
            )

        assert found["tls"]["level"] == level, found["tls"]
        assert words in found["tls"]["text"]


def test_a_server_that_drains_is_up_and_not_ready(jobwire: Jobwire, server: ScriptedServer) -> None:
    server.tell_health("NOT_SERVING")

    code, found = examined(jobwire, "")

    assert code == 9
    assert found["connect"]["level"] == "ok"
    assert "not ready (NOT_SERVING)" in found["health"]["text"]


def test_a_refused_call_is_a_finding_with_its_code(jobwire: Jobwire, service: Service) -> None:
    service.refusals["ListWorkers"] = Refusal("PERMISSION_DENIED", "ACTION_DENIED", "You may not list workers.")

    code, found = examined(jobwire, "")

    assert code == 8
    assert (found["calls"]["facts"]["code"], found["calls"]["text"]) == ("ACTION_DENIED", "you may not list workers")


def test_a_server_of_another_age_and_another_time_is_a_warning(jobwire: Jobwire, service: Service) -> None:
    code, found = examined(jobwire, "")

    assert code == 0
    assert "more than one release apart" in found["version"]["text"]  # the scripted server is 9.9.9
    assert found["version"]["advice"] == ["upgrade this client"]
    assert found["clock"]["level"] == "skipped"
    assert found["recovery"]["facts"]["returned_count"] == 3


def test_a_setting_that_cannot_be_used_is_the_finding(jobwire: Jobwire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBWIRE_ADDRESS", "nonsense")

    code, found = examined(jobwire, "")

    assert code == 2
    assert (
        "'nonsense' is not an address (it came from: the environment variable JOBWIRE_ADDRESS)"
        in (found["settings"]["text"])
    )


# --- servers that are none -------------------------------------------------------------------------------------------


def _http(opened: socket.socket) -> None:
    opened.recv(100)
    opened.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    opened.recv(100)


def _ssh(opened: socket.socket) -> None:
    opened.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    opened.recv(100)


def _hang_up(opened: socket.socket) -> None:
    opened.recv(100)


STRANGERS = {"http": (_http, "HTTP/1"), "ssh": (_ssh, "no HTTP/2"), "closer": (_hang_up, "it hung up")}


@pytest.mark.parametrize("name", STRANGERS)
def test_another_program_on_the_port_is_told_by_what_it_speaks(jobwire: Jobwire, name: str) -> None:
    behave, words = STRANGERS[name]
    with Pretender(behave) as stranger:
        code, found = examined(jobwire, f"--timeout 2s -a {stranger.address}")

    assert code == 9
    assert words in found["protocol"]["text"]


def test_a_server_that_says_nothing_is_not_waited_for_long(jobwire: Jobwire) -> None:
    with ExitStack() as stack:
        silent: Pretender = stack.enter_context(Pretender(lambda _: silent.over.wait(60)))
        code, found = examined(jobwire, f"--timeout 300ms -a {silent.address}")

    assert code == 9
    assert "takes the connection and says nothing" in found["protocol"]["text"]


def everything_wrong(stack: ExitStack, plain: LiveServer, secure: LiveServer) -> Iterator[tuple[str, str]]:
    """Flags of a call that cannot succeed, and the words for it."""
    yield "-a 127.0.0.1:1", "connection refused"
    yield "-a unix:/nonexistent/s", "no such socket"
    yield "-a no.such.host.invalid:1", "name not found"
    yield f"-a {secure.address}", "it hung up"
    yield f"-a {secure.address} --tls-ca other-ca.pem", "certificate not trusted"
    yield f"-a {secure.address} {TLS_FILES} --tls-server-name jobs", "certificate of another name"
    yield f"-a {secure.address} --tls-ca nonsense.pem", "TLS files unusable"
    yield f"-a {plain.address} --tls-ca ca.pem", "TLS handshake failed"
    for name, words in (("http", "no gRPC"), ("ssh", "no gRPC"), ("closer", "it hung up")):
        yield f"-a {stack.enter_context(Pretender(STRANGERS[name][0])).address}", words
    silent: Pretender = stack.enter_context(Pretender(lambda _: silent.over.wait(60)))
    yield f"-a {silent.address}", "did not answer"


@pytest.mark.parametrize("command", ["submit hello", "job list", "watch", "worker list", "version --server"])
def test_what_grpc_says_of_a_failed_connection_reaches_nobody(
    jobwire: Jobwire, plain: LiveServer, secure: LiveServer, command: str
) -> None:
    with ExitStack() as stack:
        for flags, words in everything_wrong(stack, plain, secure):
            ran = jobwire(f"{flags} --timeout 500ms {command}")

            if command == "watch" and words == "did not answer":
                words = "cannot reach"  # noqa: PLW2901 - a stream has no deadline of its own: it is the pings that fail
            assert ran.exit_code == 9, (flags, ran)
            assert words in ran.stderr, (flags, ran.stderr)
            assert not WORDS_OF_GRPC.search(ran.stdout + ran.stderr), ran.stderr
            assert re.search(r"^error\[(SERVER_UNREACHABLE|CALL_TIMEOUT)\]", ran.stderr)


def test_programs_get_one_document_whatever_is_wrong(jobwire: Jobwire, plain: LiveServer, secure: LiveServer) -> None:
    with ExitStack() as stack:
        for flags, words in everything_wrong(stack, plain, secure):
            ran = jobwire(f"{flags} --timeout 500ms job list -o json")

            error = json.loads(ran.stderr)["error"]
            assert words in error["message"], flags
            assert error["hint"], flags
            assert not WORDS_OF_GRPC.search(ran.stderr)


def test_the_core_of_grpc_writes_nothing_between(secure: LiveServer, folder: Path) -> None:
    """It logs to the process's own stderr, where a program reads one document."""
    line = f"-a {secure.address} --tls-ca nonsense.pem job list -o json"
    environ = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}

    done = subprocess.run(
        [BIN / "jobwire", *line.split()], capture_output=True, text=True, check=False, cwd=folder, env=environ
    )

    assert done.returncode == 9
    assert json.loads(done.stderr)["error"]["code"] == "SERVER_UNREACHABLE"
