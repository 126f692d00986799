"""Completion: what the shells ask, what they are answered, and that their scripts do it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobwire.cli.root import COMMANDS, JOB_COMMANDS
from tests.cli.conftest import Jobwire

BIN = Path(sys.executable).parent
_ASK = {
    "bash": """
        eval "$(jobwire completion bash)"
        COMP_WORDS=(jobwire {words}) COMP_CWORD={index}
        _jobwire_completion jobwire
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """,
    # The functions below would draw a menu, which needs a person; these print what would be in it.
    "zsh": """
        compdef() {{ }}
        _describe() {{ print -rl -- "${{(P@)3}}" }}
        compadd() {{ print -rl -- "${{completions[@]}}" }}
        eval "$(jobwire completion zsh)"
        words=(jobwire {words}) CURRENT=$(({index} + 1))
        _jobwire_completion
    """,
    "fish": """
        jobwire completion fish | source
        complete -C "jobwire {words}"
    """,
}


def environ(**more: str) -> dict[str, str]:
    return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **more}


def completed(shell: str, words: str) -> set[str]:
    """What the real shell offers behind `jobwire words`, without the explanations."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    script = _ASK[shell].format(words=words, index=len(words.split(" ")))
    clean = [program, "-f"] if shell == "zsh" else [program, "--no-config" if shell == "fish" else "--norc"]
    done = subprocess.run([*clean, "-c", script], env=environ(), capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return {line.split("\t")[0].split(":")[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_real_shell_completes_commands_verbs_and_flags(shell: str) -> None:
    assert completed(shell, "confo") == {"conformance"}
    assert completed(shell, "job de") == {"describe", "delete"}
    assert completed(shell, "job list --lim") == {"--limit"}
    assert completed(shell, "top --time r") == {"relative"}


def asked(*words: str, instruction: str = "powershell_complete") -> subprocess.CompletedProcess[str]:
    """Ask as PowerShell's script does: the finished words, then the one that is not."""
    *before, last = words
    variables = {"COMP_WORDS": "\n".join(["jobwire", *before]), "COMP_CWORD": last, "_JOBWIRE_COMPLETE": instruction}
    return subprocess.run([BIN / "jobwire"], env=environ(**variables), capture_output=True, text=True, check=False)


def test_powershell_is_answered_line_by_line_with_an_explanation() -> None:
    done = asked("job", "de")

    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"plain\t{name}\t{JOB_COMMANDS[name].summary}" for name in JOB_COMMANDS if name.startswith("de")
    ]


def test_the_script_of_powershell_names_the_program_and_the_question(jobwire: Jobwire) -> None:
    script = jobwire("completion powershell").stdout

    assert script.startswith("Register-ArgumentCompleter -Native -CommandName jobwire")
    assert '$env:_JOBWIRE_COMPLETE = "powershell_complete"' in script
    assert "%" not in script.replace("% ", "")


def test_all_commands_are_offered_at_the_top() -> None:
    offered = {line.split("\t")[1] for line in asked("").stdout.splitlines()}

    assert COMMANDS.keys() <= offered
    assert {"dev", "serve"} <= offered


@pytest.mark.parametrize("words", [("nonsense", ""), ("job", "nonsense", "x"), ("watch", "-f", ""), ("-o", "js")])
def test_a_line_that_makes_no_sense_gets_no_stack_trace(words: tuple[str, ...]) -> None:
    done = asked(*words)

    assert done.stderr == ""
    assert done.returncode in {0, 1}


def test_an_unknown_shell_gets_nothing() -> None:
    done = asked("job", "", instruction="csh_complete")

    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_completing_a_command_imports_no_grpc() -> None:
    code = ("import os, sys\nfrom jobwire.cli import main\nmain([])\n"
            "print(*{'grpc', 'google', 'rich'}.intersection(sys.modules), file=sys.stderr)")  # fmt: skip
    variables = {"COMP_WORDS": "jobwire j", "COMP_CWORD": "1", "_JOBWIRE_COMPLETE": "bash_complete"}

    done = subprocess.run([sys.executable, "-c", code], env=environ(**variables), capture_output=True, text=True,
                          check=True)  # fmt: skip

    assert done.stdout == "plain,job\n"
    assert done.stderr.strip() == ""
