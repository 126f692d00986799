"""`jobwire completion`, and the answers that the shells then ask for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ShellComplete, ZshComplete

from jobwire.cli.flags import command
from jobwire.cli.invocation import Invocation

VARIABLE = "_JOBWIRE_COMPLETE"
"""Set by the shells' scripts when they ask."""

_POWERSHELL = """\
Register-ArgumentCompleter -Native -CommandName jobwire -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $before = $commandAst.CommandElements | Where-Object { $_.Extent.EndOffset -lt $cursorPosition }
    $env:COMP_WORDS = ($before | ForEach-Object { $_.ToString() }) -join "`n"
    $env:COMP_CWORD = $wordToComplete
    $env:%(complete_var)s = "powershell_complete"
    try {
        & %(prog_name)s | ForEach-Object {
            $type, $value, $help = $_ -split "`t", 3
            if ($type -eq "plain") {
                [System.Management.Automation.CompletionResult]::new($value, $value, "ParameterValue", $help)
            }
        }
    } finally {
        Remove-Item Env:COMP_WORDS, Env:COMP_CWORD, Env:%(complete_var)s
    }
}
"""


class PowerShellComplete(ShellComplete):
    """Words come one a line in COMP_WORDS, the unfinished one in COMP_CWORD; answers are `type<tab>value<tab>help`."""

    name = "powershell"
    source_template = _POWERSHELL

    def get_completion_args(self) -> tuple[list[str], str]:
        """See click."""
        return os.environ.get("COMP_WORDS", "").splitlines()[1:], os.environ.get("COMP_CWORD", "")

    def format_completion(self, item: CompletionItem) -> str:
        """See click."""
        return f"{item.type}\t{item.value}\t{item.help or item.value}"


_SHELLS: Mapping[str, type[ShellComplete]] = {
    "bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete, "powershell": PowerShellComplete,
}  # fmt: skip

SHELLS: Sequence[str] = tuple(_SHELLS)


@command("completion", makes_calls=False, epilog='Example: eval "$(jobwire completion bash)"')
@click.argument("shell", metavar="SHELL", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, invocation: Invocation, shell: str) -> None:
    """Print the script that completes commands and flags in a shell.

    \b
    bash        eval "$(jobwire completion bash)"                       in ~/.bashrc
    zsh         eval "$(jobwire completion zsh)"                        in ~/.zshrc, after compinit
    fish        jobwire completion fish | source                        in ~/.config/fish/config.fish
    powershell  jobwire completion powershell | Out-String | Invoke-Expression   in $PROFILE
    """
    root = context.find_root().command
    asked = _SHELLS[shell](root, {}, "jobwire", VARIABLE)
    invocation.stdout.write(asked.source_template % asked.source_vars())


def answer(root: click.Command, instruction: str, invocation: Invocation) -> int:
    """Answer a shell that asks, `bash_complete` for one; return the exit code. Never raises."""
    shell, _, what = instruction.partition("_")
    if what != "complete" or shell not in _SHELLS:
        return 1
    try:
        invocation.stdout.write(_SHELLS[shell](root, {"obj": invocation}, "jobwire", VARIABLE).complete() + "\n")
    except Exception:  # noqa: BLE001 - a half-written line may be anything, and a shell must not show our errors
        return 1
    return 0
