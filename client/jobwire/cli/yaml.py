"""JSON-like data as block YAML: written only, and so that every reader of YAML 1.1 and 1.2 reads the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS_OF_YAML = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
# Not printable to YAML, though JSON takes them as they are.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def yaml_lines(value: Any, *, indent: int = 0) -> Iterator[str]:
    """Yield the lines of a value. Objects and lists become blocks, anything else is one line."""
    pad = "  " * indent
    if isinstance(value, dict) and value:
        for key, held in value.items():
            yield from _entry(f"{pad}{_scalar(key)}:", held, indent)
    elif isinstance(value, list) and value:
        for held in value:
            yield from item_lines(held, indent=indent)
    else:
        yield pad + _scalar(value)


def item_lines(value: Any, *, indent: int = 0) -> Iterator[str]:
    """Yield the lines of one element of a list."""
    lines = yaml_lines(value, indent=indent + 1)
    yield "  " * indent + "- " + next(lines).lstrip()
    yield from lines


def _entry(head: str, value: Any, indent: int) -> Iterator[str]:
    if isinstance(value, dict | list) and value:
        yield head
        yield from yaml_lines(value, indent=indent + 1)
    else:
        yield f"{head} {_scalar(value)}"


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.lower() not in _WORDS_OF_YAML:
            return value
        return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))
    if value in ({}, []) and isinstance(value, dict | list):
        return "{}" if isinstance(value, dict) else "[]"
    return json.dumps(value)
