"""Page tokens: opaque, bound to their query, and only good when this store made them.

Token = base64url(body + MAC); body = version, key of the last job, revision of the first page, hash of the query,
epoch. The MAC key lives in the store, so that any server can check a token after any restart.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from typing import Final, NamedTuple

from jobwire_server.domain.errors import PageTokenInvalid, PageTokenMismatch

PURPOSE: Final = "page-token"
_VERSION: Final = 1
_HEAD: Final = struct.Struct(">Bqq16s")
_MAC_BYTES: Final = 16
_MAX_CHARS: Final = 512


class PagePlace(NamedTuple):
    """Where a list goes on."""

    before_key: int
    epoch: str
    revision: int
    """Revision of the first page."""


def query_hash(*parts: bytes) -> bytes:
    """Return a hash of everything that must be the same from page to page."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.digest()


def seal(place: PagePlace, query: bytes, secret: bytes) -> str:
    """Make the token for `place` of the list that `query` (a `query_hash`) names."""
    body = _HEAD.pack(_VERSION, place.before_key, place.revision, query) + place.epoch.encode()
    return base64.urlsafe_b64encode(body + _mac(body, secret)).rstrip(b"=").decode()


def unseal(token: str, query: bytes, secret: bytes) -> PagePlace:
    """Read a token. Raises `PageTokenInvalid` when it was not made here, `PageTokenMismatch` for another query."""
    body, mac = _split(token)
    if not hmac.compare_digest(mac, _mac(body, secret)) or body[0] != _VERSION:
        raise invalid_token()
    _, before_key, revision, sealed_query = _HEAD.unpack_from(body)
    if not hmac.compare_digest(sealed_query, query):
        raise PageTokenMismatch(
            "page_token belongs to a call with another filter or view: repeat that call, or begin without a token."
        )
    return PagePlace(before_key, body[_HEAD.size :].decode(), revision)


def invalid_token() -> PageTokenInvalid:
    """Return the error for a token that this store did not make."""
    return PageTokenInvalid("page_token is not one that this server gave out: begin the list without a token.")


def _split(token: str) -> tuple[bytes, bytes]:
    if len(token) > _MAX_CHARS:
        raise invalid_token()
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise invalid_token() from None
    if len(raw) < _HEAD.size + _MAC_BYTES:
        raise invalid_token()
    return raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]


def _mac(body: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, body, "sha256")[:_MAC_BYTES]
