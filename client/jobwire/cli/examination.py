"""The doctor's round: from this machine to the server's workers, each step only where the one before it held."""

from __future__ import annotations

import os
import platform
import socket
import ssl
from collections.abc import Iterator, Mapping
from datetime import timedelta

from jobwire._ambient import Clock, SystemClock
from jobwire.cli.faults import ExitCode, as_clause, exit_code_for
from jobwire.cli.findings import (
    Finding,
    Level,
    Speech,
    failed,
    fine,
    judge_certificate,
    judge_clocks,
    judge_pool,
    judge_recovery,
    judge_speech,
    judge_versions,
    judge_workers,
    skipped,
    warning,
)
from jobwire.cli.invocation import Invocation
from jobwire.cli.probing import Endpoint, Way, ask_who_is_there, connection, endpoint_of, shake_hands, ways_to
from jobwire.cli.server import Server, settings_of
from jobwire.cli.versions import installed_version
from jobwire.cli.words import moment_text, seconds_of
from jobwire.errors import JobwireError
from jobwire.settings import Settings
from jobwire.v1 import admin_service_pb2 as pb

_LONGEST_PROBE_SECONDS = 5.0
_START = (
    "start one:   jobwire dev",
    "or choose:   jobwire -a HOST:PORT doctor   (and keep it: jobwire config set address HOST:PORT)",
)
_SERVICE = ("health", "version", "clock", "store", "recovery", "workers")
_PAGE_WORKERS = 1000


def examine(invocation: Invocation) -> Iterator[Finding]:
    """Yield findings as they are made. What fails is a finding, too: raises nothing but bugs."""
    yield _client()
    try:
        settings = settings_of(invocation)
    except JobwireError as error:
        yield _refusal("settings", error)
        return
    yield fine(
        "settings",
        f"{settings.address}, {'TLS' if settings.tls else 'no TLS'} (from: {settings.origin})",
        address=settings.address, origin=settings.origin, tls=settings.tls,
    )  # fmt: skip
    reached = True
    if invocation.sheet is None:  # --show-grpcurl: the calls alone
        for finding in _Network(settings, invocation.environ, SystemClock()).findings():
            yield finding
            reached = reached and finding.level is not Level.FAILED
    if not reached:
        yield from (skipped(check, "no connection to ask through") for check in _SERVICE)
        return
    with Server(invocation) as server:
        yield from _service(invocation, server)


def _client() -> Finding:
    versions = {name: installed_version(name) for name in ("jobwire", "grpcio", "protobuf")}
    shown = " · ".join([f"jobwire {versions['jobwire']}", f"Python {platform.python_version()}",
                        f"grpcio {versions['grpcio']}", f"protobuf {versions['protobuf']}"])  # fmt: skip
    return fine("client", f"{shown} on {platform.system()}", python=platform.python_version(), **versions)


def _refusal(check: str, error: JobwireError) -> Finding:
    """What the SDK refused or was refused, as a finding."""
    return failed(
        check,
        " ".join([as_clause(error.message), *([f"({error.why})"] if error.why else [])]),
        *error.hint.splitlines(),
        exit_code=exit_code_for(error.code, error.grpc_code),
        code=error.code,
    )


# --- the network -----------------------------------------------------------------------------------------------------


class _Network:
    """Everything below the first call."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], clock: Clock) -> None:
        self._settings = settings
        self._environ = environ
        self._clock = clock
        self._seconds = min(settings.deadline.total_seconds(), _LONGEST_PROBE_SECONDS)

    def findings(self) -> Iterator[Finding]:
        """Resolve, connect, and hear who is there. A finding that failed is the last one."""
        endpoint = endpoint_of(self._settings.address)
        proxy = self._proxy()
        if endpoint is None or (proxy and not self._settings.address.startswith(_OURSELVES)):
            through = f"calls go through the proxy {proxy}" if proxy else "gRPC alone can follow this address"
            yield (
                warning("connect", f"{through}: what lies between is not looked at")
                if proxy
                else skipped("connect", through)
            )
            return
        try:
            ways = ways_to(endpoint)
        except OSError as error:
            yield failed("name", f"the name {endpoint.host!r} is not known here ({error.strerror or error})",
                         "check the spelling, /etc/hosts, and the DNS that this machine asks", *_START[1:])  # fmt: skip
            return
        if not endpoint.is_unix:
            yield fine("name", f"{endpoint.host} is {', '.join(way.shown.rpartition(':')[0] for way in ways)}",
                       addresses=[way.shown for way in ways])  # fmt: skip
        way, connecting = self._connected(ways)
        yield connecting
        if way is not None:
            yield self._speech(way, endpoint)

    def _proxy(self) -> str:
        """The proxy that gRPC would take, in its order."""
        return next((value for name in ("grpc_proxy", "https_proxy", "http_proxy")
                     if (value := self._environ.get(name, ""))), "")  # fmt: skip

    def _connected(self, ways: list[Way]) -> tuple[Way | None, Finding]:
        """Return the first way that leads to somebody, and what to say of it."""
        refusals: list[str] = []
        for way in ways:
            begin = self._clock.monotonic()
            try:
                with connection(way, self._seconds):
                    milliseconds = (self._clock.monotonic() - begin) * 1000
                    return way, fine("connect", f"{way.shown} answers within {milliseconds:.1f} ms",
                                     milliseconds=round(milliseconds, 2))  # fmt: skip
            except OSError as error:
                refusals.append(f"{way.shown}: {_cause_of(error, self._seconds)}")
        return None, failed("connect", "; ".join(refusals), *_START)

    def _speech(self, way: Way, endpoint: Endpoint) -> Finding:
        try:
            if self._settings.tls:
                return self._tls(way, endpoint)
            return judge_speech(ask_who_is_there(way, self._seconds))
        except OSError as error:
            return failed("protocol", f"{way.shown} did not go on: {_cause_of(error, self._seconds)}", *_START)

    def _tls(self, way: Way, endpoint: Endpoint) -> Finding:
        for name, path in (
            ("CA", self._settings.ca),
            ("certificate", self._settings.cert),
            ("key", self._settings.key),
        ):
            if path is not None and not os.access(path, os.R_OK):
                return failed("tls", f"the file of the {name}, {path}, cannot be read", "check the path",
                              exit_code=ExitCode.USAGE)  # fmt: skip
        try:
            # gRPC calls every Unix socket localhost.
            hands = shake_hands(way, self._settings, endpoint.host or "localhost", self._seconds)
        except ssl.SSLCertVerificationError as error:
            return self._distrust(error, endpoint)
        except (ssl.SSLError, ConnectionError) as error:
            return self._no_tls(error, way)
        if hands.speech is Speech.CLOSED:
            return self._unwanted(f"{hands.version} works, and then the server hangs up: it wants")
        if hands.speech is not Speech.HTTP2:
            return failed("tls", f"{hands.version} works, but behind it there is no gRPC", "check the port")
        ends_in = timedelta(seconds=hands.ends_at_seconds - SystemClock().now().timestamp())
        return judge_certificate(ends_in, text=hands.version, version=hands.version,
                                 certificate_ends_at_seconds=hands.ends_at_seconds)  # fmt: skip

    def _distrust(self, error: ssl.SSLCertVerificationError, endpoint: Endpoint) -> Finding:
        """The server's certificate was not accepted."""
        words = error.verify_message or "it was not accepted"
        if "mismatch" in words.lower():
            name = self._settings.server_name or endpoint.host or "localhost"
            return failed("tls", f"the server's certificate is not for {name!r}",
                          "use the name that it bears as address, or say it:   --tls-server-name NAME")  # fmt: skip
        if "expired" in words:
            return failed("tls", "the server's certificate has expired", "renew it on the server")
        if "not yet valid" in words:
            return failed("tls", "the server's certificate is not valid yet", "compare the clocks of the machines")
        return failed("tls", f"the server's certificate is not trusted ({words})",
                      "name the authority that issued it:   --tls-ca FILE")  # fmt: skip

    def _unwanted(self, words: str) -> Finding:
        """The server does not take this client's certificate, or the lack of one."""
        which = (
            "another certificate of this client than the one it got"
            if self._settings.cert
            else ("a certificate of this client")
        )
        return failed("tls", f"{words} {which}",
                      "show one that its authority has issued:   --tls-cert FILE --tls-key FILE",
                      exit_code=ExitCode.NOT_ALLOWED)  # fmt: skip

    def _no_tls(self, error: OSError, way: Way) -> Finding:
        """The handshake failed, not because of the server's certificate."""
        reason = getattr(error, "reason", None) or ""
        if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
            return self._unwanted("the server wants")
        if "KEY_VALUES_MISMATCH" in reason or "PEM" in reason:
            return failed("tls", "the certificate and the key of this client cannot be used",
                          "do they belong together?", exit_code=ExitCode.USAGE)  # fmt: skip
        speech = ask_who_is_there(way, self._seconds)
        if speech is Speech.HTTP2:
            return failed("tls", "the other side speaks no TLS", "drop the tls settings:   --no-tls",
                          "see where they come from:   jobwire config show --origin")  # fmt: skip
        return failed("tls", f"the TLS handshake failed ({reason.lower().replace('_', ' ') or 'it hung up'}); "
                      f"without TLS the other side speaks {speech.value}",
                      "check the port, and --tls-cert and --tls-key if the server wants them")  # fmt: skip


_OURSELVES = ("127.", "localhost:", "[::1]:", "unix:", "unix-abstract:", "ipv4:127.")


def _cause_of(error: OSError, seconds: float) -> str:
    """Name a failed connection in few words."""
    match error:
        case TimeoutError():
            return f"no answer within {seconds:g} s"
        case ConnectionRefusedError():
            return "connection refused: nothing listens there"
        case FileNotFoundError():
            return "there is no such socket"
        case PermissionError():
            return "the socket may not be opened by this user"
        case ConnectionError():
            return "it hung up"
        case socket.gaierror():
            return "the name is not known here"
        case _:
            return (error.strerror or str(error)).lower()


# --- the service -----------------------------------------------------------------------------------------------------


def _service(invocation: Invocation, server: Server) -> Iterator[Finding]:
    """Ask the server itself."""
    try:
        status = server.health()
        yield _health(status)
        begin = invocation.wall_seconds()
        info = server.info()
        end = invocation.wall_seconds()
        yield judge_versions(installed_version("jobwire"), info.version)
        yield _clocks(info, begin, end)
        yield fine("store", _store_words(info), kind=info.store, epoch=info.current.epoch,
                   revision=info.current.revision, compacted_revision=info.compacted.revision)  # fmt: skip
        yield judge_recovery(failed_count=info.recovery.failed_count, returned_count=info.recovery.returned_count)
        if info.pool_trouble:
            yield judge_pool(info.pool_trouble)
        page = server.workers_page("", _PAGE_WORKERS)
        yield judge_workers([(each.connected, each.in_flight, each.max_in_flight) for each in page.workers],
                            more=bool(page.next_page_token))  # fmt: skip
    except JobwireError as error:
        yield _refusal("calls", error)


def _health(status: str) -> Finding:
    if status == "SERVING":
        return fine("health", "ready (SERVING)", status=status)
    return failed("health", f"the server is up and not ready ({status}): it starts, or drains",
                  "wait, and look at its log", status=status)  # fmt: skip


def _clocks(info: pb.ServerInfo, begin: float, end: float) -> Finding:
    if not info.HasField("current_time"):
        return skipped("clock", "this server does not tell its time")
    middle, half = (begin + end) / 2, (end - begin) / 2
    return judge_clocks(timedelta(seconds=seconds_of(info.current_time) - middle), timedelta(seconds=half))


def _store_words(info: pb.ServerInfo) -> str:
    since = moment_text(info.start_time) if info.HasField("start_time") else "an unknown time"
    return f"{info.store}, revision {info.current.revision}, served since {since}"
