"""Lease tokens: opaque proof of one lease, which only this store can make.

Token = version, key of the job, fence, MAC. The MAC key lives in the store: a token that one server gave out is good at
every server of the store, after any restart. A token says which attempt is meant; whether its lease still stands is for
the store to say.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Final

from jobwire_server.domain.errors import LeaseTokenMalformed

PURPOSE: Final = "lease-token"
_VERSION: Final = 1
_BODY: Final = struct.Struct(">Bqq")
_MAC_BYTES: Final = 12
_TOKEN_BYTES: Final = _BODY.size + _MAC_BYTES


class LeaseTokens:
    """Makes and reads the tokens of one store."""

    def __init__(self, secret: bytes) -> None:
        self._keyed = hashlib.blake2b(key=secret, digest_size=_MAC_BYTES, person=b"jobwire-lease")

    def seal(self, key: int, fence: int) -> bytes:
        """Make the token of the lease (key, fence)."""
        body = _BODY.pack(_VERSION, key, fence)
        mac = self._keyed.copy()
        mac.update(body)
        return body + mac.digest()

    def unseal(self, token: bytes) -> tuple[int, int]:
        """Read a token. Raises `LeaseTokenMalformed` when this store did not make it."""
        body = token[: _BODY.size]
        if len(token) == _TOKEN_BYTES and token[0] == _VERSION:
            mac = self._keyed.copy()
            mac.update(body)
            if hmac.compare_digest(token[_BODY.size :], mac.digest()):
                _, key, fence = _BODY.unpack(body)
                return key, fence
        raise LeaseTokenMalformed(
            "lease_token is not one that this server gave out: send the token of the assignment, byte for byte."
        )
