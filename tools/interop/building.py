"""Builds a language: only when something changed since the last time, and never without its tools."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tools.interop.languages import ROOT, Language, Tool


class Unbuildable(Exception):
    """The message says what is missing or went wrong, and what to do."""


def versions_of(languages: Sequence[Language]) -> Mapping[str, str]:
    """Version of each tool by name. Raises Unbuildable, naming all that are missing or too old at once."""
    versions: dict[str, str] = {}
    faults: list[str] = []
    for language in languages:
        for tool in language.tools:
            version = _version(tool)
            if version is None:
                faults.append(f"{language.title} needs {tool.name}, and it is not on PATH: {tool.remedy}.")
            elif tuple(map(int, version.split("."))) < tool.at_least:
                faults.append(f"{language.title} needs a newer {tool.name} than {version}: {tool.remedy}.")
            else:
                versions[tool.name] = version
    if faults:
        raise Unbuildable("\n".join(dict.fromkeys(faults)))
    return versions


def build(language: Language, versions: Mapping[str, str]) -> bool:
    """Build it; returns False when it was built already, of the same sources by the same tools."""
    if not language.steps:
        return False
    stamp = language.folder / language.outputs[0] / ".built"
    fingerprint = _fingerprint(language, versions)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == fingerprint:
        return False
    stamp.unlink(missing_ok=True)
    for step in language.steps:
        done = subprocess.run(
            step, cwd=language.folder, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            command = " ".join(step)
            raise Unbuildable(f"{done.stdout}\n{language.title}: `{command}` in {language.folder} failed, see above.")
    stamp.write_text(fingerprint, encoding="utf-8")
    return True


def environment() -> Mapping[str, str]:
    """The environment of builds and programs: what make setup installed is found first."""
    return {**os.environ, "PATH": f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def _version(tool: Tool) -> str | None:
    program = shutil.which(tool.name, path=environment()["PATH"])
    if program is None:
        return None
    said = subprocess.run([program, *tool.version], capture_output=True, text=True, check=False, cwd=ROOT)
    found = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
    return found[0] if found else "0.0"


def _fingerprint(language: Language, versions: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    digest.update(repr([(tool.name, versions[tool.name]) for tool in language.tools] + [language.steps]).encode())
    for path in [*_sources(language.folder, language.outputs), *sorted((ROOT / "protos").rglob("*.proto"))]:
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sources(folder: Path, outputs: Sequence[str]) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        if Path(place) == folder:
            folders[:] = [name for name in folders if name not in outputs]
        folders.sort()
        yield from (Path(place, name) for name in sorted(names))
