"""Looking at an address below gRPC, whose own errors say too little: names, connections, TLS, first words."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from jobwire.cli.findings import Speech, speech_of
from jobwire.settings import Settings

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""What a client says first in HTTP/2, with empty settings."""


class Way(NamedTuple):
    """One way to a server: a socket's family and address, and how people write it."""

    family: int
    address: Any
    shown: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a gRPC target leads: a host and port, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_unix(self) -> bool:
        """True for a Unix socket."""
        return bool(self.path)


def endpoint_of(target: str) -> Endpoint | None:
    """Read a gRPC target; None for kinds that only gRPC itself can follow (xds:)."""
    if target.startswith("unix-abstract:"):
        return Endpoint(path="\0" + target.removeprefix("unix-abstract:"))
    if target.startswith("unix:"):
        path = target.removeprefix("unix:")
        return Endpoint(path="/" + path.lstrip("/") if path.startswith("//") else path)
    found = re.fullmatch(r"(?:dns:(?://[^/]*/)?|ipv4:|ipv6:)?\[?([^\[\]]+?)\]?:(\d{1,5})", target)
    return None if found is None else Endpoint(host=found[1], port=int(found[2]))


def ways_to(endpoint: Endpoint) -> list[Way]:
    """Resolve the host's name. Raises OSError."""
    if endpoint.is_unix:
        return [Way(socket.AF_UNIX, endpoint.path, endpoint.path.replace("\0", "@"))]
    found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(Way(family, address, _shown(address)) for family, _, _, _, address in found))


def _shown(address: tuple[object, ...]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


@contextmanager
def connection(way: Way, seconds: float) -> Iterator[socket.socket]:
    """Connect; the time limit is that of every step that follows, too. Raises OSError."""
    with socket.socket(way.family, socket.SOCK_STREAM) as opened:
        opened.settimeout(seconds)
        opened.connect(way.address)
        yield opened


def ask_who_is_there(way: Way, seconds: float) -> Speech:
    """Greet in HTTP/2 and tell from the answer what the other side speaks. Raises OSError when nobody answers."""
    with connection(way, seconds) as plain:
        speech = speech_of(_greeted(plain))
    # A server of TLS may hang up on such a greeting without a word: it is asked in its own language.
    return Speech.TLS if speech in {Speech.CLOSED, Speech.SILENT} and _speaks_tls(way, seconds) else speech


def _greeted(connected: socket.socket) -> bytes | None:
    answer = b""
    try:
        connected.sendall(_PREFACE)
        while len(answer) < 9 and (more := connected.recv(64)):
            answer += more
    except TimeoutError:
        return answer or None
    except ssl.SSLError:  # an alert, which says more
        raise
    except OSError:  # reset: it hung up
        return answer
    return answer


def _speaks_tls(way: Way, seconds: float) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is said to it: only whether it answers is of interest
    try:
        with connection(way, seconds) as opened, context.wrap_socket(opened):
            return True
    except OSError:
        return False


class Handshake(NamedTuple):
    """What came of TLS."""

    version: str
    ends_at_seconds: float
    """End of the server's certificate, since the epoch."""
    speech: Speech
    """What was heard behind TLS."""


def shake_hands(way: Way, settings: Settings, host: str, seconds: float) -> Handshake:
    """Do TLS as the client would, and greet, so that a server that wants a certificate says so.

    Raises OSError (SSLError, SSLCertVerificationError), also for files that cannot be read.
    """
    context = ssl.create_default_context(cafile=settings.ca)
    context.set_alpn_protocols(["h2"])
    if settings.cert is not None:
        context.load_cert_chain(settings.cert, settings.key)
    name = settings.server_name or host
    with connection(way, seconds) as opened, context.wrap_socket(opened, server_hostname=name) as secure:
        certificate = secure.getpeercert() or {}
        ends = ssl.cert_time_to_seconds(str(certificate.get("notAfter", "Jan  1 00:00:00 1970 GMT")))
        version = secure.version() or "TLS"
        # TLS 1.3 tells only now that a certificate is missing, and some servers not even now.
        return Handshake(version, ends, speech_of(_greeted(secure)))
