"""`jobwire help` and `jobwire cheat`: what to know, offline."""

from __future__ import annotations

from collections.abc import Sequence

import click

from jobwire.cli.faults import CliError
from jobwire.cli.flags import command
from jobwire.cli.invocation import Invocation
from jobwire.cli.root import LazyGroup


@command("help", makes_calls=False, epilog="Example: jobwire help filters")
@click.argument("words", metavar="[TOPIC|COMMAND]...", nargs=-1)
@click.pass_context
def help_(context: click.Context, invocation: Invocation, words: tuple[str, ...]) -> None:
    """Explain a topic (exit-codes, environment, formatting, filters), or show the help of a command."""
    from jobwire.cli.topics import TOPICS  # noqa: PLC0415 - the help of commands needs none

    root = context.find_root()
    if not words:
        invocation.stdout.write(root.command.get_help(root) + "\n\nTopics of `jobwire help TOPIC`:\n")
        invocation.stdout.writelines(f"  {name:<12}  {topic.title}\n" for name, topic in TOPICS.items())
    elif len(words) == 1 and words[0] in TOPICS:
        invocation.stdout.writelines(f"{line}\n" for line in TOPICS[words[0]].lines())
    else:
        invocation.stdout.write(_help_of(root, words, list(TOPICS)) + "\n")


def _help_of(root: click.Context, words: Sequence[str], topics: Sequence[str]) -> str:
    """The help of the command that `words` name. Raises CliError when there is none."""
    context = root
    for word in words:
        group = context.command
        found = group.get_command(context, word) if isinstance(group, LazyGroup) else None
        if found is None:
            raise CliError("USAGE", f"there is no command or topic {' '.join(words)!r}",
                           hints=[f"topics: {', '.join(topics)}", "commands:   jobwire --help"])  # fmt: skip
        context = click.Context(found, info_name=word, parent=context)
    return context.command.get_help(context)


@command("cheat", makes_calls=False, epilog="Example: jobwire cheat failed")
@click.argument("topic", metavar="[TOPIC]", required=False)
def cheat(invocation: Invocation, topic: str | None) -> None:
    """Show commands to copy, by topic; without a topic all of them.

    -o json prints {"topics": [{"topic", "commands": [{"purpose", "command"}, ...]}, ...]}.
    """
    from jobwire.cli.cheats import CHEATS, near  # noqa: PLC0415 - help pages need none of it
    from jobwire.cli.output import Printer  # noqa: PLC0415

    if topic is not None and topic not in CHEATS:
        meant = [f"did you mean:   jobwire cheat {name}" for name in near(topic)]
        raise CliError("USAGE", f"there is no topic {topic!r}", hints=[*meant, f"topics: {', '.join(CHEATS)}"])
    chosen = {topic: CHEATS[topic]} if topic is not None else CHEATS
    printer = Printer(invocation)
    printer.documents(
        "topics",
        [{"topic": name, "commands": [line._asdict() for line in lines]} for name, lines in chosen.items()],
        identifier="topic",
    )
    for number, (name, lines) in enumerate(chosen.items()):
        printer.rows([*([""] if number else []), f"# {name}"])
        width = max(len(line.command) for line in lines)
        printer.rows(f"{line.command:<{width}}   # {line.purpose}" for line in lines)
