"""Build the examples of every language, have `jobwire conformance` judge them, and write docs/reference/interop.md.

LANGS=go,node   only these; the page is then left alone
FAST=1          the slice for CI; the page is then left alone
BUILD=1         build, and judge nothing
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.interop.building import Unbuildable, build, environment, versions_of
from tools.interop.languages import LANGUAGES, ROOT, Language
from tools.interop.page import Judged, render


def main(settings: Mapping[str, str]) -> int:
    """Run it; the exit code is 0 when everything that was asked of every language passed."""
    try:
        languages = _chosen(settings.get("LANGS", ""))
        versions = versions_of(languages)
        for language in languages:
            _build_aloud(language, versions)
    except Unbuildable as error:
        print(error, file=sys.stderr)
        return 2
    if settings.get("BUILD"):
        return 0
    is_fast = bool(settings.get("FAST"))
    judged = [Judged(each, versions[each.tools[0].name], _judge_aloud(each, is_fast=is_fast)) for each in languages]
    if not is_fast and len(languages) == len(LANGUAGES):
        (ROOT / "docs/reference/interop.md").write_text(render(judged), encoding="utf-8")
        print("docs/reference/interop.md")
    return 1 if any(each.count("failed") for each in judged) else 0


def _chosen(names: str) -> Sequence[Language]:
    wanted = [name for name in names.replace(",", " ").split() if name]
    known = {language.name: language for language in LANGUAGES}
    for name in wanted:
        if name not in known:
            raise Unbuildable(f"There are no examples in {name!r}: LANGS takes some of {', '.join(known)}.")
    return [known[name] for name in wanted] or LANGUAGES


def _build_aloud(language: Language, versions: Mapping[str, str]) -> None:
    begun = time.monotonic()
    tools = ", ".join(f"{Path(tool.name).name} {versions[tool.name]}" for tool in language.tools)
    print(f"{language.title:<8} {language.library(language.folder)} ({tools})", end=" ", flush=True)
    was_built = build(language, versions)
    print(f"built in {time.monotonic() - begun:.1f} s" if was_built else "up to date" if language.steps else "as it is")


def _judge_aloud(language: Language, *, is_fast: bool) -> Sequence[Mapping[str, Any]]:
    """Have its programs judged; the points. What failed is told at once."""
    begun = time.monotonic()
    print(f"{language.title:<8}", end=" ", flush=True)
    command = [
        str(Path(sys.executable).with_name("jobwire")), "conformance", "--output", "json",
        "--worker", shlex.join(language.worker), "--submitter", shlex.join(language.submitter),
        *language.flags, *(["--fast"] if is_fast else []),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    if not done.stdout:
        raise SystemExit(f"jobwire conformance said nothing and ended with {done.returncode}:\n{done.stderr}")
    report = json.loads(done.stdout)
    print(
        f"{report['passed']} passed, {report['failed']} failed, {report['not_applicable']} do not apply"
        f" ({time.monotonic() - begun:.0f} s)"
    )
    for point in report["points"]:
        if point["verdict"] == "failed":
            print(f"  {point['name']}: {point['sentence']}\n    expected {point['expected']}, seen {point['seen']}")
    points: Sequence[Mapping[str, Any]] = report["points"]
    return points


if __name__ == "__main__":
    sys.exit(main(os.environ))
