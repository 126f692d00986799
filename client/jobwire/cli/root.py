"""The command `jobwire` itself: a table of commands, each imported when it is called and not before."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from jobwire.cli.faults import NO_CALL_TO_SHOW, CliError
from jobwire.cli.flags import Command
from jobwire.cli.invocation import Invocation

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PLUGIN_GROUP = "jobwire.commands"


class Entry(NamedTuple):
    """Where a command is, and the line that help shows of it."""

    location: str
    summary: str


COMMANDS: Mapping[str, Entry] = MappingProxyType({
    "run": Entry("jobwire.cli.running:run", "Submit a job, follow it, print its result, exit by its outcome."),
    "submit": Entry("jobwire.cli.submitting:submit", "Submit a job (or many, --from-jsonl) and print its id."),
    "watch": Entry("jobwire.cli.watching:watch", "Print changes of jobs as they happen."),
    "wait": Entry("jobwire.cli.watching:wait", "Block until jobs have finished, or another condition."),
    "work": Entry("jobwire.cli.work:work", "Run jobs here: with the handlers of an app, or with any program."),
    "job": Entry("jobwire.cli.job:job", "List, read, cancel, retry and delete jobs."),
    "worker": Entry("jobwire.cli.worker:worker", "List workers."),
    "top": Entry("jobwire.cli.top:top", "Show queues, workers and the oldest jobs, again and again."),
    "explain": Entry("jobwire.cli.explaining:explain", "Say what an error code means, and what to do."),
    "bench": Entry("jobwire.cli.benching:bench", "Measure a running server: submits, watches, whole jobs."),
    "config": Entry("jobwire.cli.config:config", "Contexts, and where each setting comes from."),
    "doctor": Entry("jobwire.cli.doctor:doctor", "Say what is wrong between here and the workers, and what to do."),
    "check": Entry("jobwire.cli.check:check", "Probes for monitoring: exit codes 0, 1, 2, 3."),
    "health": Entry("jobwire.cli.health:health", "Probe of a container: exit code 0 or 1, one line."),
    "conformance": Entry(
        "jobwire.cli.conformance:conformance", "Judge a worker or submitter in any language, point by point."
    ),
    "proto": Entry("jobwire.cli.about:proto", "Write the .proto files, for other languages."),
    "cheat": Entry("jobwire.cli.helping:cheat", "Show commands to copy, by topic."),
    "help": Entry("jobwire.cli.helping:help_", "Explain a topic: exit-codes, environment, formatting, filters."),
    "completion": Entry("jobwire.cli.completing:completion", "Print the completion script of a shell."),
    "version": Entry("jobwire.cli.about:version", "Show versions, of the server too with --server."),
})  # fmt: skip

JOB_COMMANDS: Mapping[str, Entry] = MappingProxyType({
    "list": Entry("jobwire.cli.job:list_jobs", "List jobs, newest first."),
    "get": Entry("jobwire.cli.job:get", "Read jobs by id."),
    "describe": Entry("jobwire.cli.describing:describe", "Tell the whole story of a job, and what to type next."),
    "events": Entry("jobwire.cli.watching:events", "Print what happened to a job."),
    "result": Entry("jobwire.cli.job:result", "Wait for a job and print its result, nothing else."),
    "cancel": Entry("jobwire.cli.steering:cancel", "Cancel jobs; running ones are asked to stop."),
    "retry": Entry("jobwire.cli.steering:retry", "Put failed, cancelled or expired jobs to work again."),
    "clone": Entry("jobwire.cli.cloning:clone", "Submit a job again as a new one, with changes."),
    "delete": Entry("jobwire.cli.steering:delete", "Remove finished jobs for good."),
})  # fmt: skip

WORKER_COMMANDS: Mapping[str, Entry] = MappingProxyType({
    "list": Entry("jobwire.cli.worker:list_workers", "List workers, and how busy they are."),
})  # fmt: skip

BENCH_COMMANDS: Mapping[str, Entry] = MappingProxyType({
    "submit": Entry("jobwire.cli.benching:bench_submit", "How many durable submits, and how long each takes."),
    "watch": Entry("jobwire.cli.benching:bench_watch", "How soon a watcher hears of a submit."),
    "e2e": Entry("jobwire.cli.benching:bench_e2e", "From submit to known result, with a worker of its own."),
})  # fmt: skip

CONFIG_COMMANDS: Mapping[str, Entry] = MappingProxyType({
    "list": Entry("jobwire.cli.config:list_contexts", "List the contexts."),
    "get": Entry("jobwire.cli.config:get", "Print one setting as it counts."),
    "set": Entry("jobwire.cli.config:set_", "Put a setting into a context."),
    "use": Entry("jobwire.cli.config:use", "Choose the context that counts from now on."),
    "show": Entry("jobwire.cli.config:show", "Print all settings as they count, and where they come from."),
})  # fmt: skip

CHECK_COMMANDS: Mapping[str, Entry] = MappingProxyType({
    "ready": Entry("jobwire.cli.probes:ready", "The server is ready, and answers fast enough."),
    "workers": Entry("jobwire.cli.probes:workers", "Enough workers are connected."),
    "queue": Entry("jobwire.cli.probes:queue_", "Not too many jobs wait."),
})  # fmt: skip

NOUNS: Mapping[str, Mapping[str, Entry]] = MappingProxyType({
    "job": JOB_COMMANDS, "worker": WORKER_COMMANDS, "config": CONFIG_COMMANDS, "check": CHECK_COMMANDS,
    "bench": BENCH_COMMANDS,
})  # fmt: skip
"""Commands that are groups, and their verbs."""

# Help must not import a plug-in, so the lines of those that we know stand here.
_PLUGIN_SUMMARIES: Mapping[str, str] = MappingProxyType({
    "dev": "Start a server for development: loopback, a SQLite file, built-in job types.",
    "serve": "Start a server.",
    "db": "Look after a store: status, backup, restore, check, migrate, sql.",
})  # fmt: skip


class LazyGroup(click.Group):
    """A group whose commands are named by a table (and, at the top, by entry points) and imported when called."""

    def __init__(
        self,
        *args: Any,
        entries: Mapping[str, Entry] = MappingProxyType({}),
        plugins: bool = False,
        **attributes: Any,
    ) -> None:
        super().__init__(*args, **attributes)
        self._entries = entries
        self._plugins = plugins

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click asks
        """Name the commands: plug-ins first (a server comes before its clients), then the table's."""
        return [*(name for name in self._plugin_names() if name not in self._entries), *self._entries]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click asks
        """Import a command; None when there is none of that name."""
        if (entry := self._entries.get(cmd_name)) is not None:
            # gRPC tells its own story on stderr when a connection fails; ours is told once, in our words. It reads this
            # when it is imported.
            os.environ.setdefault("GRPC_VERBOSITY", "NONE")
            module, _, attribute = entry.location.partition(":")
            loaded: click.Command = getattr(importlib.import_module(module), attribute)
            return loaded
        return self._load_plugin(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that `args` begins with, or say which one was perhaps meant."""
        name = args[0]
        found = self.get_command(ctx, name)
        if found is None:
            import difflib  # noqa: PLC0415 - only for mistakes

            near = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"No such command {name!r}.{meant}", ctx=ctx)
        invocation = ctx.find_object(Invocation)
        if invocation is not None and invocation.flags.get("show_grpcurl") and not isinstance(found, Command):
            # It came from a plug-in, which would do what it does without a look at the flag.
            raise click.UsageError(NO_CALL_TO_SHOW, ctx=ctx)
        return name, found, args[1:]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete commands from the table, without importing any, and flags."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only for shells

        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return [*(CompletionItem(name, help=self._summary(name)) for name in names),
                *click.Command.shell_complete(self, ctx, incomplete)]  # fmt: skip

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table, without importing anything."""
        rows = [(name, self._summary(name)) for name in self.list_commands(ctx)]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def _summary(self, name: str) -> str:
        entry = self._entries.get(name)
        return entry.summary if entry is not None else _PLUGIN_SUMMARIES.get(name, "(from another package)")

    def _plugin_names(self) -> list[str]:
        if not self._plugins:
            return []
        from importlib.metadata import entry_points  # noqa: PLC0415 - 20 ms that most commands need not pay

        return sorted({point.name for point in entry_points(group=PLUGIN_GROUP)})

    def _load_plugin(self, name: str) -> click.Command | None:
        if not self._plugins:
            return None
        from importlib.metadata import entry_points  # noqa: PLC0415 - see above

        for point in entry_points(group=PLUGIN_GROUP, name=name):
            try:
                loaded: click.Command = point.load()
            except (ImportError, AttributeError) as error:
                raise CliError(
                    "COMMAND_UNAVAILABLE",
                    f"the command {name!r} cannot be loaded from {point.value} ({error})",
                    hints=["reinstall it:   pip install --force-reinstall jobwire"],
                ) from error
            return loaded
        return None


class _Root(LazyGroup, Command):
    """The top: a lazy group that takes the global flags."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands above the flags."""
        self.format_commands(ctx, formatter)
        Command.format_options(self, ctx, formatter)


class NounGroup(_Root):
    """`jobwire job`, `jobwire worker`: a noun and its verbs."""


root = _Root(
    name="jobwire",
    entries=COMMANDS,
    plugins=True,
    help="Durable jobs over gRPC: submit, watch, and steer them.",
    epilog="Start with `jobwire dev` in one terminal and `jobwire run hello -d '\"Ada\"'` in another.",
    no_args_is_help=True,
)
