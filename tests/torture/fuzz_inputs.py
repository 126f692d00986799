"""Inputs that no client should send: random bytes, broken messages, and whole messages with impossible values."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import EncodeError, Message
from google.protobuf.message_factory import GetMessageClass

INTEGERS: Final = (0, 1, -1, 2, 5, 60, 999, 1000, 1001, 2**31 - 1, -(2**31), 2**53, 2**63 - 1, -(2**63))
FLOATS: Final = (0.0, -1.0, 0.5, 1.0, 1e308, -1e308, math.nan, math.inf, -math.inf, 5e-324)
TEXTS: Final = (
    "", " ", "default", "a", "A", "0", "..", "a" * 63, "a" * 64, "a" * 65, "a" * 128, "a" * 129, "a" * 200, "a" * 201,
    "ä", "\x00", "\n", "a\x00b", "\u202e", "\U0001f600" * 50, "'; DROP TABLE job; --", "%s%n", "../../etc/passwd",
    "{}", "a" * 5000,
)  # fmt: skip
BIG: Final = (1 << 20, (1 << 20) + 1)
DEEP: Final = 200
INT32: Final = frozenset({FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_ENUM})
FLOATING: Final = frozenset({FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT})


class Inputs:
    """An endless, seeded stream of inputs for one message type."""

    def __init__(self, descriptor: Descriptor, chance: random.Random, words: Sequence[str]) -> None:
        """`words` are texts that mean something to the server under test, such as ids of its jobs."""
        self._class: Callable[[], Message] = GetMessageClass(descriptor)
        self._descriptor = descriptor
        self._chance = chance
        self._words = (*TEXTS, *words, *words)
        self._kinds: Sequence[tuple[float, Callable[[], bytes]]] = (
            (0.20, self.noise),
            (0.20, self.bent),
            (0.10, self.cut),
            (0.10, self.stray),
            (0.395, self.message),
            (0.005, self.oversized),
        )

    def next(self) -> bytes:
        """Return the next input."""
        kinds, weights = [kind for _, kind in self._kinds], [weight for weight, _ in self._kinds]
        return self._chance.choices(kinds, weights)[0]()

    def noise(self) -> bytes:
        """Random bytes."""
        return self._chance.randbytes(int(self._chance.expovariate(1 / 40)))

    def bent(self) -> bytes:
        """A message with some of its bits changed."""
        data = bytearray(self.message() or b"\x0a")
        for _ in range(self._chance.randint(1, 4)):
            data[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)
        return bytes(data)

    def cut(self) -> bytes:
        """A message without its end, or with another one behind it."""
        data = self.message()
        return data[: self._chance.randint(0, len(data))] + (self.message() if self._chance.random() < 0.3 else b"")

    def stray(self) -> bytes:
        """A message with a field of a wrong wire type, an unknown field, an open group or an endless number."""
        number = self._chance.choice([*range(1, 20), 1000, 536870911])
        wire = self._chance.randrange(8)
        bodies = (
            b"\xff" * 10,
            b"\x01",
            struct.pack("<q", -1),
            b"\x04\xff\xfe\xfd\xfc",
            b"\xff\xff\xff\xff\x0f",
            b"\x80" * 9 + b"\x01",
            bytes([self._chance.randrange(1, 120)]) * self._chance.randint(1, DEEP),
        )
        return self.message() + _varint(number << 3 | wire) + self._chance.choice(bodies)

    def oversized(self) -> bytes:
        """A message around or far above what the server takes."""
        length = self._chance.choice([(1 << 20) + 1, (4 << 20) - 100, (4 << 20) + 1])
        return self.message() + _varint(self._chance.randint(1, 12) << 3 | 2) + _varint(length) + b"a" * length

    def message(self) -> bytes:
        """A message whose fields hold anything that their types can hold."""
        message = self._class()
        self._fill(message, self._descriptor, depth=0)
        try:
            return message.SerializeToString()
        except EncodeError:
            return b""

    def _fill(self, message: Any, descriptor: Descriptor, depth: int) -> None:
        density = self._chance.choice([0.15, 0.3, 0.9]) / (depth + 1)
        for field in descriptor.fields:
            if self._chance.random() < density:
                self._set(message, field, depth)

    def _set(self, message: Any, field: FieldDescriptor, depth: int) -> None:
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            entries = getattr(message, field.name)
            for _ in range(self._count(33)):
                entries[self._text()] = self._text()
        elif field.is_repeated:
            values = getattr(message, field.name)
            for _ in range(self._count(1001 if kind is None else 30)):
                if kind is None:
                    values.append(self._scalar(field))
                else:
                    self._fill(values.add(), kind, depth + 1)
        elif kind is not None:
            child = getattr(message, field.name)
            child.SetInParent()
            self._fill(child, kind, depth + 1)
        else:
            setattr(message, field.name, self._scalar(field))

    def _count(self, most: int) -> int:
        return self._chance.choice([0, 1, 1, 2, 3]) if self._chance.random() < 0.97 else most

    def _scalar(self, field: FieldDescriptor) -> Any:
        if field.type == FieldDescriptor.TYPE_UINT64:
            return self._chance.choice([number for number in INTEGERS if number >= 0])
        if field.type == FieldDescriptor.TYPE_STRING:
            return self._text()
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self._chance.randbytes(self._size())
        if field.type == FieldDescriptor.TYPE_BOOL:
            return self._chance.random() < 0.5
        if field.type in FLOATING:
            return self._chance.choice(FLOATS)
        number = self._chance.choice(INTEGERS)
        return max(-(2**31), min(2**31 - 1, number)) if field.type in INT32 else number

    def _text(self) -> str:
        return self._chance.choice(self._words)

    def _size(self) -> int:
        return self._chance.choice(BIG) if self._chance.random() < 0.005 else self._chance.randint(0, 50)


def _varint(number: int) -> bytes:
    data = bytearray()
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    return bytes([*data, number])
