"""docs/reference/interop.md: what passed, language by language. The same verdicts and versions give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from tools.interop.languages import Language
from tools.markdown import table

_SIGNS: Final = {"passed": "✓", "failed": "✕", "not_applicable": "–"}
_HEAD: Final = """\
<!-- Written by `make interop`. Do not edit. -->

# Interop

The two programs that [examples](../../examples) has for each language, judged by `jobwire conformance`
([what it asks](conformance.md)): a worker and a submitter, each on the gRPC library of its own language, against a real
server behind a proxy that loses, repeats, holds back and cuts what passes.

✓ passed, ✕ failed, – does not apply: the shell works by unary calls, so what is about streams is not asked of it;
and where the others are given 500 jobs, it is given 60."""


class Judged(NamedTuple):
    """A language, and what became of its programs."""

    language: Language
    version: str
    """Of its first tool."""
    points: Sequence[Mapping[str, Any]]
    """As `jobwire conformance -o json` prints them."""

    def count(self, verdict: str) -> int:
        """Points with this verdict."""
        return sum(point["verdict"] == verdict for point in self.points)


def render(judged: Sequence[Judged]) -> str:
    """Return the page."""
    titles = [each.language.title for each in judged]
    built = [
        (each.language.title, each.version, each.language.library(each.language.folder), _score(each))
        for each in judged
    ]
    verdicts = [{point["name"]: point["verdict"] for point in each.points} for each in judged]
    points = [
        (f"`{point['name']}`", point["sentence"], *(_SIGNS[verdict[point["name"]]] for verdict in verdicts))
        for point in judged[0].points
    ]
    blocks = [
        _HEAD,
        table(("Language", "Version", "Library", "Passed"), built),
        table(("Point", "What is asked", *titles), points),
    ]
    return "\n\n".join(blocks) + "\n"


def _score(judged: Judged) -> str:
    asked = len(judged.points) - judged.count("not_applicable")
    return f"{judged.count('passed')} of {asked}"
