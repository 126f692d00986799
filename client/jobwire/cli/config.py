"""`jobwire config`: contexts, and where each setting comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import click

from jobwire.cli.context_file import changing
from jobwire.cli.faults import CliError
from jobwire.cli.flags import DEFAULT_ADDRESS, command
from jobwire.cli.invocation import COLORS, Invocation, Output, TimeStyle, check_choice, origin_words
from jobwire.cli.output import Printer, compact, table
from jobwire.cli.root import CONFIG_COMMANDS, NounGroup
from jobwire.contexts import KEYS, ContextFile, Found, Key, Kind, Place, check_key, read_value
from jobwire.durations import format_duration
from jobwire.settings import check_address

_DEFAULTS = {"address": DEFAULT_ADDRESS, "timeout": "10s", "output": "table", "color": "auto"}
_CHOICES = {"output": [*map(str, Output)], "time": [*map(str, TimeStyle)], "color": [*COLORS]}
_FIRST_CONTEXT = "default"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

config = NounGroup(
    name="config",
    entries=CONFIG_COMMANDS,
    help="Contexts, which are settings under a name, and where each setting comes from.",
    no_args_is_help=True,
)


def _text_of(value: Any) -> str:
    """A value as it is typed."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case _:
            return format_duration(value)


# --- show and get ----------------------------------------------------------------------------------------------------


def _effective(invocation: Invocation, key: Key) -> tuple[str, Found]:
    """The value that counts, as text, and what it was found in. A default is one, too."""
    found = invocation.lookup.find(key.name)
    return _text_of(_DEFAULTS.get(key.name) if found.value is None else found.value), found


def _origin_document(found: Found) -> dict[str, Any]:
    return {"place": str(found.place), "name": found.name or None, "where": found.where or None}


@command("show", makes_calls=False, epilog="Example: jobwire config show --origin")
@click.option("--origin", "with_origin", is_flag=True, help="Say where each value comes from.")
def show(invocation: Invocation, with_origin: bool) -> None:
    """Print every setting as it counts for this command line: flags, environment, context, defaults.

    -o json prints {"file", "context", "settings": [{"name", "value", "origin": {"place", "name", "where"}}, ...]},
    where place is given, environment, context or default. A TLS setting of the context counts for the context's own
    address only.
    """
    printer = Printer(invocation)
    rows = [(key, *_effective(invocation, key)) for key in KEYS.values()]
    context = invocation.lookup.context
    document = {
        "file": str(invocation.lookup.file.path),
        "context": None if context is None else context[0],
        "settings": [
            {"name": key.name, "value": text or None, "origin": _origin_document(found)} for key, text, found in rows
        ],
    }
    lines = [(key.name, text or "-", *((origin_words(found),) if with_origin else ())) for key, text, found in rows]
    headings = ("SETTING", "VALUE", *(("FROM",) if with_origin else ()))
    _print(printer, document, document["settings"], table(headings, lines), [key.name for key in KEYS.values()])


@command("get", makes_calls=False, epilog="Example: jobwire config get address")
@click.argument("name", metavar="SETTING")
def get(invocation: Invocation, name: str) -> None:
    """Print one setting as it counts for this command line, and nothing else: an empty line when it is unset.

    -o json prints {"name", "value", "origin"}.
    """
    text, found = _effective(invocation, check_key(name, "The command line"))
    document = {"name": name, "value": text or None, "origin": _origin_document(found)}
    _print(Printer(invocation), document, [document], [text], [text])


@command("list", makes_calls=False, epilog="Example: jobwire config list")
def list_contexts(invocation: Invocation) -> None:
    """List the contexts; * is the one that counts here.

    -o json prints {"file", "contexts": [{"name", "current", "settings": {...}}, ...]}; -o id the names.
    """
    file = invocation.lookup.file
    chosen = invocation.lookup.context_name.value
    contexts = [
        {"name": name, "current": name == chosen, "settings": {k: _text_of(v) for k, v in file.values_of(name).items()}}
        for name in file.contexts
    ]
    rows = [("*" if each["current"] else "", str(each["name"]), *_columns(each["settings"])) for each in contexts]
    printer = Printer(invocation)
    if not contexts:
        printer.talk(f"no contexts in {file.path}; make one: jobwire -c NAME config set address HOST:PORT")
    lines = table(("", "CONTEXT", "ADDRESS", "OTHER SETTINGS"), rows) if contexts else []
    _print(printer, {"file": str(file.path), "contexts": contexts}, contexts, lines, list(file.contexts))


def _columns(settings: Any) -> tuple[str, str]:
    others = [f"{name}={value}" for name, value in settings.items() if name != "address"]
    return settings.get("address", "-"), " ".join(others)


def _print(
    printer: Printer, document: Mapping[str, Any], elements: Any, lines: Sequence[str], ids: Sequence[str]
) -> None:
    match printer.output:
        case Output.JSONL:
            printer.lines(compact(element) for element in elements)
        case Output.ID:
            printer.lines(ids)
        case Output.TABLE | Output.WIDE:
            printer.lines(lines)
        case _:
            printer.document(lambda: dict(document), identifier="", text=lambda: None)


# --- set and use -----------------------------------------------------------------------------------------------------


@command("set", makes_calls=False, epilog="Example: jobwire -c prod config set address jobs.internal:7780")
@click.argument("name", metavar="SETTING")
@click.argument("value", metavar="[VALUE]", required=False)
@click.option("--unset", is_flag=True, help="Take the setting out of the context.")
def set_(invocation: Invocation, name: str, value: str | None, unset: bool) -> None:
    """Put a setting into a context: the one named by -c or JOBWIRE_CONTEXT, else the current one.

    A context that is not there is made; the first one becomes the current one. The settings are those of `jobwire
    config show`. Comments in the file are kept; only its owner may read it.
    """
    key = check_key(name, "The command line")
    if unset == (value is not None):
        raise click.UsageError("Give a VALUE, or --unset.")
    file = invocation.lookup.file
    context = _context_to_change(invocation, file)
    stored = None if value is None else _stored(key, value)
    with changing(file.path) as draft:
        if stored is None:
            draft.drop(context, name)
            is_new = False
        else:
            is_new = draft.put(context, name, stored)
            if not file.contexts and file.current is None:
                draft.choose(context)
    invocation.forget_settings()
    made = " (a new one)" if is_new else ""
    what = f"{name} = {value}" if stored is not None else f"{name} unset"
    Printer(invocation).talk(f"{what} in the context {context!r}{made} of {file.path}")


def _context_to_change(invocation: Invocation, file: ContextFile) -> str:
    chosen: str | None = invocation.lookup.context_name.value
    if chosen is None and file.contexts:
        raise CliError(
            "USAGE",
            "no context is chosen, so it is not known which one to change",
            hints=["name one:   jobwire -c NAME config set ...", "choose one:   jobwire config use NAME"],
        )
    name = chosen or _FIRST_CONTEXT
    if not _NAME.fullmatch(name):
        raise CliError("USAGE", f"{name!r} is no name for a context: letters, digits, _ and -, at most 64")
    return name


def _stored(key: Key, text: str) -> str | bool:
    """Check a value as the reader of the file would, and return what is written."""
    place = "The command line"
    value = read_value(key, text, place=place)
    if key.name == "address":
        return check_address(text, "the command line")
    if (choices := _CHOICES.get(key.name)) is not None:
        check_choice(key.name, text, choices, place="the command line")
    if key.kind is Kind.FILE:
        import os  # noqa: PLC0415 - only for paths

        return os.path.abspath(str(value))  # noqa: PTH100 - Path.resolve would follow links
    return value if isinstance(value, bool) else text


@command("use", makes_calls=False, epilog="Example: jobwire config use prod")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--none", "forget", is_flag=True, help="From now on none: environment and defaults only.")
def use(invocation: Invocation, name: str | None, forget: bool) -> None:
    """Choose the context that counts from now on, in every terminal."""
    if forget == (name is not None):
        raise click.UsageError("Give the NAME of a context, or --none.")
    file = invocation.lookup.file
    if name is not None:
        file.values_of(name)  # it must be there, and fit for use
    with changing(file.path) as draft:
        draft.choose(name)
    invocation.forget_settings()
    printer = Printer(invocation)
    printer.talk(f"the context is now {name!r}" if name else "no context is chosen now")
    wins = invocation.lookup.context_name
    if wins.place in {Place.GIVEN, Place.ENVIRONMENT} and wins.value != name:
        printer.warn(f"note: {origin_words(wins)} names {wins.value!r}, which wins here")
