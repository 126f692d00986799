"""The topics of `jobwire help`."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from jobwire.cli.exits import EXIT_MEANINGS

_WIDTH = 100


class Topic(NamedTuple):
    """A page of help."""

    title: str
    lines: Callable[[], Iterable[str]]


ENVIRONMENT: Sequence[tuple[str, str]] = (
    ("JOBWIRE_CONTEXT", "Name of the context: settings in a file. The flag --context wins over it."),
    ("JOBWIRE_CONTEXTS", "The file of contexts. Default: jobwire/config.toml in XDG_CONFIG_HOME, or in ~/.config."),
    ("NO_COLOR", "Set to anything: no colours."),
    ("CLICOLOR_FORCE", "Set to anything but 0: colours in pipes, too."),
    ("TERM", "`dumb`: no colours and no moving lines."),
    ("VISUAL, EDITOR", "What `job clone --edit` opens."),
    ("XDG_STATE_HOME", "Where `@last` is kept, in jobwire/last. Default: ~/.local/state."),
)
"""What the command line reads beside its settings. Those of the server: docs, configuration."""


def _exit_codes() -> Iterator[str]:
    yield "Exit codes"
    yield ""
    yield from _rows((str(int(code)), meaning.replace("`", "")) for code, meaning in EXIT_MEANINGS.items())
    yield ""
    yield "An error names its own code on stderr, error[CODE]: jobwire explain CODE."


def _environment() -> Iterator[str]:
    from jobwire.contexts import KEYS  # noqa: PLC0415 - other topics need none

    yield "Environment"
    yield ""
    settings = [(key.variable, key.help) for key in KEYS.values()]
    yield from _rows((name, meaning.replace("`", "")) for name, meaning in (*settings, *ENVIRONMENT))
    yield ""
    yield "A flag wins over the environment, that over the context: jobwire config show --origin."


def _formatting() -> Iterator[str]:
    yield "Formats of stdout: -o"
    yield ""
    yield from _rows((
        ("table", "For people; may change in any release. The default."),
        ("wide", "The same with more columns, and nothing cut."),
        ("json", "Exactly one JSON document, closed on every way out."),
        ("jsonl", "One JSON object a line, as soon as it is known."),
        ("yaml", "The document of json, as YAML."),
        ("id", "Ids, one a line, for xargs."),
        ("none", "Nothing: the exit code is the answer."),
    ))  # fmt: skip
    yield ""
    yield "JSON and YAML have the contract's own field names and every field; null is what is not set. With json,"
    yield "jsonl and yaml an error is one JSON object on stderr, and nothing else is."
    yield ""
    yield from _rows((
        ("--fields A,B", "These fields only: status.last_error.message, or its last name where that is clear."),
        ("--fields help", "Lists the fields of what the command prints; labels.KEY is a label."),
        ("--time STYLE", "Times for people: relative, iso, or unix. JSON always has RFC 3339."),
        ("--color WHEN", "auto, always, or never. A state is always a symbol and a word, too."),
    ))  # fmt: skip


def _filters() -> Iterator[str]:
    from jobwire.filtering import FIELDS  # noqa: PLC0415 - other topics need no protobuf

    yield "Filters: state:failed,retrying queue:mail type:email.* label.customer:42 age>1h"
    yield ""
    yield "Conditions stand beside each other, and all must hold. Values stand behind a colon; with commas any of"
    yield "them. A - in front turns a condition round."
    yield ""
    yield from _rows((
        ("field:a,b", "is a or b"),
        ("field:a*", "begins with a"),
        ("field:~a", "contains a, in any case"),
        ("-field:a", "is not a"),
        ('field:"a b"', 'quotes hold blanks, commas and *; \\" and \\\\ within them'),
        ("field>1h", "also < >= <=, for ages, times and numbers"),
    ))  # fmt: skip
    yield ""
    yield from _rows((entry.name, f"{entry.meaning} {entry.example}") for entry in FIELDS)
    yield ""
    yield "The server looks for exact values of state, queue, type, label.KEY and batch, for -state, age and created."
    yield "The rest is applied by job list, cancel, retry and delete to what the server finds: they read all of that."
    yield "watch takes what the server looks for."


def _rows(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Two columns, the second one wrapped."""
    listed = list(pairs)
    width = max(len(name) for name, _ in listed)
    for name, meaning in listed:
        first, *rest = textwrap.wrap(meaning, _WIDTH - width - 4)
        yield f"  {name:<{width}}  {first}"
        yield from (" " * (width + 4) + line for line in rest)


TOPICS: Mapping[str, Topic] = MappingProxyType(
    {
        "exit-codes": Topic("What a command answers to the shell.", _exit_codes),
        "environment": Topic("Variables that are read.", _environment),
        "formatting": Topic("Tables, JSON, YAML, fields, times, colours.", _formatting),
        "filters": Topic("The language for choosing jobs.", _filters),
    }
)
"""By name."""
