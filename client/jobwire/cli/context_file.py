"""Changing the file of contexts: comments and order are kept, and it is there whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jobwire.cli.faults import CliError

_OWNER_ONLY = 0o600
_FOLDER_OF_OWNER = 0o700
_ELSEWHERE = "keep it elsewhere:   JOBWIRE_CONTEXTS=FILE"
_FIRST_LINES = "# Contexts of jobwire: `jobwire config --help`.\n\n"


class Draft:
    """The file while it is being changed."""

    def __init__(self, document: MutableMapping[str, Any]) -> None:
        self._document = document
        self._first_choice: str | None = None

    @property
    def contexts(self) -> MutableMapping[str, Any]:
        """The contexts by name; made when there are none."""
        import tomlkit  # noqa: PLC0415 - only for changes

        if "contexts" not in self._document:
            self._document["contexts"] = tomlkit.table(is_super_table=True)
        made: MutableMapping[str, Any] = self._document["contexts"]
        return made

    def put(self, context: str, name: str, value: str | bool) -> bool:
        """Set one setting. True: the context is new."""
        import tomlkit  # noqa: PLC0415 - see above

        is_new = context not in self.contexts
        if is_new:
            self.contexts[context] = tomlkit.table()
        self.contexts[context][name] = value
        return is_new

    def drop(self, context: str, name: str) -> None:
        """Remove one setting, if it is there."""
        self.contexts.get(context, {}).pop(name, None)

    def choose(self, context: str | None) -> None:
        """Say which context counts when nobody names one; None = none."""
        if context is None:
            self._document.pop("current", None)
        elif "current" in self._document:
            self._document["current"] = context
        else:
            self._first_choice = context

    def text(self) -> str:
        """The file as it is to be."""
        import tomlkit  # noqa: PLC0415 - see above

        text = tomlkit.dumps(self._document)
        if self._first_choice is None:
            return text
        # The library would put a new key between the first table and its comment.
        return _above_the_tables(f"current = {json.dumps(self._first_choice)}\n", text)


def _above_the_tables(entry: str, text: str) -> str:
    lines = text.splitlines(keepends=True)
    place = next((number for number, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
    while place and lines[place - 1].lstrip().startswith("#"):  # a comment right above a table is the table's
        place -= 1
    return "".join([*lines[:place], entry, "\n", *lines[place:]])


@contextmanager
def changing(path: Path) -> Iterator[Draft]:
    """Change the file: it is replaced when the block ends well, and left as it is otherwise.

    Only its owner may read it afterwards. A link is followed, so that what it leads to is changed. Two changes at the
    same time: the later one wins. Raises CliError; the file must be one that `read_contexts` can read.
    """
    import tomlkit  # noqa: PLC0415 - reading needs it not

    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():  # a device, for example: /dev/null must not become a file
        raise CliError("OUTPUT_UNWRITABLE", f"cannot write {target} (it is no regular file)", hints=[_ELSEWHERE])
    try:
        draft = Draft(tomlkit.parse(target.read_text("utf-8") if target.exists() else _FIRST_LINES))
        yield draft
        _replace(target, draft.text().rstrip("\n") + "\n")
    except OSError as error:
        raise CliError(
            "OUTPUT_UNWRITABLE",
            f"cannot write {target} ({error.strerror})",
            hints=[_ELSEWHERE],
        ) from error


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(mode=_FOLDER_OF_OWNER, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(
            os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "w", encoding="utf-8"
        ) as new:
            new.write(text)
            new.flush()
            os.fsync(new.fileno())
        beside.replace(path)
    finally:
        with suppress(FileNotFoundError):  # it has become the file
            beside.unlink()
