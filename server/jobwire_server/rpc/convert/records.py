"""Length-delimited records of the wire format, where a message is laid down piece by piece."""

from __future__ import annotations

from typing import Final

RESPONSE_LIMIT: Final = 4 * 2**20 - 64 * 2**10
"""Most bytes of one response: other languages' clients refuse 4 MiB and more."""

_LENGTH_DELIMITED: Final = 2


def record(field_number: int, body: bytes) -> bytes:
    """Return `body` as a field of the message it is put into. Field numbers to 15."""
    return b"%c%b%b" % (field_number << 3 | _LENGTH_DELIMITED, varint(len(body)), body)


def varint(value: int) -> bytes:
    """Return a non-negative number in base 128."""
    if value < 0x80:
        return b"%c" % value
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
