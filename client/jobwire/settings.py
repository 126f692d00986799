"""How a client reaches its server, and how long it waits. Plain data: it can be pickled and sent to another process."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from jobwire.contexts import Found, Lookup, Place
from jobwire.durations import Duration, parse_duration
from jobwire.errors import ArgumentInvalid, ErrorDetails

DEFAULT_ADDRESS = "127.0.0.1:7780"
DEFAULT_DEADLINE = timedelta(seconds=10)

_HOST_AND_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]]+):([0-9]{1,5})")
_RESOLVED = re.compile(r"(?:dns|ipv4|ipv6|unix|unix-abstract|xds):\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a client."""

    address: str = DEFAULT_ADDRESS
    """`HOST:PORT`, `unix:/PATH`, or a gRPC target such as `dns:///HOST:PORT`."""
    origin: str = "default"
    """Where the address came from: "argument", "JOBWIRE_ADDRESS", "context 'NAME' (FILE:LINE)" or "default"."""
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
    server_name: str | None = None
    """Name that the server's certificate must bear. None = the host of the address."""


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


def make_settings(  # noqa: PLR0913 (a client's arguments, all by name but two)
    address: str | None,
    environ: Mapping[str, str],
    *,
    deadline: Duration | None = None,
    patience: Duration | None = None,
    tries: int | None = None,
    tls: bool | None = None,
    files: tuple[str | None, str | None, str | None] = (None, None, None),
    server_name: str | None = None,
    context: str | None = None,
) -> Settings:
    """Check the arguments of a client, and find what they leave open. Raises ArgumentInvalid and ConfigInvalid.

    An argument wins over the environment, that over the context, that over the default: see `jobwire.contexts`. With
    an address and no `context`, no context counts: a program that says where its server is depends on no file.
    """
    if tries is not None and tries < 1:
        raise ArgumentInvalid(f"tries must be 1 or more, not {tries}.")
    ca, cert, key = files
    given = {
        "address": address,
        "context": context,
        "timeout": None if deadline is None else positive(deadline, "deadline"),
        "tls": tls,
        "tls_ca": ca,
        "tls_cert": cert,
        "tls_key": key,
        "tls_server_name": server_name,
    }
    lookup = Lookup(given, environ, use_context=address is None or context is not None)
    settings = connection_of(lookup, origin_of=_origin)
    return replace(
        settings, tries=tries, patience=None if patience is None else parse_duration(patience, name="patience")
    )


def connection_of(lookup: Lookup, *, origin_of: Callable[[Found], str]) -> Settings:
    """Find address, deadline and TLS; `origin_of` words where the address came from. Raises ArgumentInvalid."""
    address, timeout = lookup.find("address"), lookup.find("timeout")
    origin = origin_of(address)
    return Settings(
        address=DEFAULT_ADDRESS if address.value is None else check_address(address.value, origin),
        origin=origin,
        deadline=DEFAULT_DEADLINE if timeout.value is None else timeout.value,
        **_tls_of(lookup, origin_of),
    )


def _origin(found: Found) -> str:
    match found.place:
        case Place.GIVEN:
            return "argument"
        case Place.ENVIRONMENT:
            return found.name
        case Place.CONTEXT:
            return f"context {found.name!r} ({found.where})"
        case Place.DEFAULT:
            return "default"


_FIELDS = {"tls_ca": "ca", "tls_cert": "cert", "tls_key": "key", "tls_server_name": "server_name"}


def _tls_of(lookup: Lookup, origin_of: Callable[[Found], str]) -> dict[str, Any]:
    """Find the fields about TLS. Who names an authority or a certificate means TLS, unless told off from no weaker
    place."""
    switch = lookup.find("tls")
    said = {field: found for name, field in _FIELDS.items() if (found := lookup.find(name)).value is not None}
    if switch.value is None or any(found.rank < switch.rank for found in said.values()):
        is_spoken = bool(said)
    else:
        is_spoken = switch.value
    if not is_spoken:
        return {}
    if ("cert" in said) != ("key" in said):
        one = said.get("cert") or said["key"]
        raise ArgumentInvalid(
            "The client's certificate and its key belong together: give both or neither.",
            ErrorDetails(why=f"There is only {one.value} (from: {origin_of(one)})."),
        )
    return {"tls": True, **{field: found.value for field, found in said.items()}}


def positive(value: Duration, name: str) -> timedelta:
    """Read a duration that must be longer than 0."""
    duration = parse_duration(value, name=name)
    if not duration:
        raise ArgumentInvalid(f"{name} must be longer than 0.")
    return duration
