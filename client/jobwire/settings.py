"""How a client reaches its server, and how long it waits. Plain data: it can be pickled and sent to another process."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from jobwire.durations import Duration, parse_duration
from jobwire.errors import ArgumentInvalid, ErrorDetails

DEFAULT_ADDRESS = "127.0.0.1:7780"
DEFAULT_DEADLINE = timedelta(seconds=10)
ADDRESS_VARIABLE = "JOBWIRE_ADDRESS"

_HOST_AND_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]]+):([0-9]{1,5})")
_RESOLVED = re.compile(r"(?:dns|ipv4|ipv6|unix|unix-abstract|xds):\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a client."""

    address: str = DEFAULT_ADDRESS
    """`HOST:PORT`, `unix:/PATH`, or a gRPC target such as `dns:///HOST:PORT`."""
    origin: str = "default"
    """What the address came from: "argument", "JOBWIRE_ADDRESS" or "default"."""
    deadline: timedelta = DEFAULT_DEADLINE
    """Of each call, tries and pauses included."""
    patience: timedelta | None = None
    """How long watch() and result() go on without an answer of the server, once there was one. None = for ever."""
    tries: int | None = None
    """Most tries of one call while the server is UNAVAILABLE. None = as many as fit into the deadline."""
    tls: bool = False
    ca: str | None = None
    """File with the certificates (PEM) to trust instead of the system's."""
    cert: str | None = None
    """File with this client's own certificate chain (PEM)."""
    key: str | None = None
    """File with the private key of `cert` (PEM)."""


def resolve_address(address: str | None, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the address and its origin: argument, else JOBWIRE_ADDRESS, else the default. Raises ArgumentInvalid."""
    if address is not None:
        return check_address(address, "argument"), "argument"
    from_environment = environ.get(ADDRESS_VARIABLE)
    if from_environment:
        return check_address(from_environment, ADDRESS_VARIABLE), ADDRESS_VARIABLE
    return DEFAULT_ADDRESS, "default"


def check_address(address: str, origin: str) -> str:
    """Return the address if it is one. A missing port is an error: gRPC would silently take 443."""
    text = address.strip()
    match = _HOST_AND_PORT.fullmatch(text)
    if (match and 0 < int(match[1]) < 65_536) or (not match and _RESOLVED.fullmatch(text)):
        return text
    raise ArgumentInvalid(
        f"{address!r} is not an address (it came from: {origin}).",
        ErrorDetails(hint=f"write HOST:PORT, for example {DEFAULT_ADDRESS}, or unix:/path/to/socket"),
    )


def make_settings(
    address: str | None,
    environ: Mapping[str, str],
    *,
    deadline: Duration,
    patience: Duration | None,
    tries: int | None,
    tls: bool,
    files: tuple[str | None, str | None, str | None],
) -> Settings:
    """Check the arguments of a client. Raises ArgumentInvalid."""
    ca, cert, key = files
    if (cert is None) != (key is None):
        raise ArgumentInvalid("cert and key belong together: give both or neither.")
    if tries is not None and tries < 1:
        raise ArgumentInvalid(f"tries must be 1 or more, not {tries}.")
    chosen, origin = resolve_address(address, environ)
    return Settings(
        address=chosen,
        origin=origin,
        deadline=positive(deadline, "deadline"),
        patience=None if patience is None else parse_duration(patience, name="patience"),
        tries=tries,
        tls=tls or ca is not None or cert is not None,
        ca=ca,
        cert=cert,
        key=key,
    )


def positive(value: Duration, name: str) -> timedelta:
    """Read a duration that must be longer than 0."""
    duration = parse_duration(value, name=name)
    if not duration:
        raise ArgumentInvalid(f"{name} must be longer than 0.")
    return duration
