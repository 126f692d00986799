"""Channels to a server, with the options that the contract relies on."""

from __future__ import annotations

import json
from pathlib import Path

import grpc

from jobwire.errors import ArgumentInvalid, ErrorDetails
from jobwire.settings import Settings

_MEBIBYTE = 2**20

_OPTIONS: tuple[tuple[str, int | str], ...] = (
    # A frozen or vanished server is noticed within 40 s. Only ping_timeout is obeyed; keepalive_timeout is what its
    # name promises in other versions. The server allows a ping every 10 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Shorter than a call's deadline, so that a call can outlive a restart of the server.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", 8 * _MEBIBYTE),
    ("grpc.max_send_message_length", 8 * _MEBIBYTE),
)
_LOOPBACK = ("127.", "localhost:", "[::1]:", "unix:", "unix-abstract:", "ipv4:127.")


def channel_options(settings: Settings) -> list[tuple[str, int | str]]:
    """Return the channel's options. Tries are made by the client itself, so the service config has no retry policy."""
    options = list(_OPTIONS)
    if settings.address.startswith("dns:"):
        options.append(("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})))
    if settings.server_name is not None:
        options.append(("grpc.ssl_target_name_override", settings.server_name))
    if settings.address.startswith(_LOOPBACK):
        options.append(("grpc.enable_http_proxy", 0))  # no proxy knows what our loopback is
    return options


def open_channel(settings: Settings) -> grpc.Channel:
    """Make a channel for threads. Nothing is sent before the first call."""
    options = channel_options(settings)
    if settings.tls:
        return grpc.secure_channel(settings.address, _credentials(settings), options)
    return grpc.insecure_channel(settings.address, options)


def open_aio_channel(settings: Settings) -> grpc.aio.Channel:
    """Make a channel for the running event loop. Nothing is sent before the first call."""
    options = channel_options(settings)
    if settings.tls:
        return grpc.aio.secure_channel(settings.address, _credentials(settings), options)
    return grpc.aio.insecure_channel(settings.address, options)


def _credentials(settings: Settings) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=_read(settings.ca, "CA"),
        private_key=_read(settings.key, "key"),
        certificate_chain=_read(settings.cert, "certificate"),
    )


def _read(path: str | None, name: str) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ArgumentInvalid(
            f"The file of the {name}, {path}, cannot be read: {(error.strerror or str(error)).lower()}.",
            ErrorDetails(hint="see where the path comes from: jobwire config show --origin"),
        ) from error
