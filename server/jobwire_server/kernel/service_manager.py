"""What a service manager is told: systemd's notification protocol (sd_notify(3)), if something listens."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

VARIABLE: Final = "NOTIFY_SOCKET"


class ServiceManager:
    """Told when the server is ready, and when it begins to stop. Telling never fails and never waits: whoever does not
    listen misses it."""

    def __init__(self, address: str = "") -> None:
        """`address`: a Unix socket, "@name" in the abstract namespace; "" = nobody listens."""
        self._address = "\0" + address[1:] if address.startswith("@") else address

    @classmethod
    def found(cls, environment: Mapping[str, str]) -> ServiceManager:
        """The one that has started this process, if it wants to be told."""
        return cls(environment.get(VARIABLE, ""))

    def ready(self, status: str) -> None:
        """The service can be used; `status` is for people."""
        self._tell(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        """The service has begun to stop."""
        self._tell("STOPPING=1\nSTATUS=draining")

    def _tell(self, text: str) -> None:
        if self._address:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.setblocking(False)
                line.sendto(text.encode(), self._address)
