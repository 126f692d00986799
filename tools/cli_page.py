"""docs/reference/cli.md: the commands, their flags, the exit codes and the error codes of the command line."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Final

import click

from jobwire.cli.exits import EXIT_MEANINGS
from jobwire.cli.faults import LOCAL_CODES, ExitCode
from jobwire.cli.flags import Command, global_options
from jobwire.cli.root import COMMANDS, NOUNS, root
from jobwire.cli.spec import LINE_FIELDS
from jobwire.contexts import KEYS
from tools.markdown import generated_from, table

_INTRODUCTION: Final = """\
# The command line

`jobwire COMMAND --help` says the same as this page. `jobwire dev` and `jobwire serve` start a server: their flags are
in [configuration.md](configuration.md).

- Data goes to stdout, talk to stderr. Neither a progress line nor a warning ever stands between the data.
- The table is for people and may change in any release; JSON has the fields of [the contract](protocol.md).
- On a terminal `run` shows live progress. In a pipe it writes one line per change to stderr: time, id, state, then
  `key=value` pairs.
- Durations are written `250ms`, `90s`, `5m`, `1h30m`, `7d`. Times are written `2026-11-21T12:31:04Z`, `now+1h` or
  `now-15m`; a duration alone lies ahead for a time to come (`--at 1h`), and back for a time past (`--since 1h`).
- On a terminal `@last` in the place of an id is the job that it submitted last.
- Nothing is asked where stdin is no terminal or the output is for programs: the error then names the flag to give.
- Watching goes on through cuts of the connection and restarts of the server: nothing is missed, nothing repeated."""

_TIMEOUT: Final = """\
`--timeout` after `run`, `wait`, `watch` and `job result` is the limit of the waiting; before the command it is the
deadline of each call. `NO_COLOR` and `CLICOLOR_FORCE` are obeyed."""

_SETTINGS: Final = """\
## Where settings come from

A flag wins over the environment, that over the context, that over the default. A context is a set of settings under a
name, in `~/.config/jobwire/config.toml` (`XDG_CONFIG_HOME` is obeyed; `JOBWIRE_CONTEXTS` names another file).
`jobwire config show --origin` says of each setting where its value comes from.

- `-c NAME` is a flag, so the context that it names wins over the environment. `JOBWIRE_CONTEXT` does not; the other
  variables stand beside it.
- TLS settings of a context count for the context's own address, and not for one from a flag or from the environment.
- A relative path in a context is meant from the folder of the file."""

_OUTPUT: Final = """\
## Output formats

| `-o` | stdout holds |
|---|---|
| `table` | what people read (the default); for `run` and `job result` the result itself, for `submit` the id |
| `wide` | the same with more columns, and nothing cut |
| `json` | exactly one JSON document |
| `jsonl` | one JSON object a line, as soon as it is known |
| `yaml` | the document of `json`, as YAML |
| `id` | job ids, one a line, for `xargs`; of `worker list` the workers' |
| `none` | nothing: the exit code is the answer |

JSON is the proto3 mapping with the contract's own field names (`job_id`, `JOB_STATE_COMPLETED`; 64-bit numbers are
strings), and every field is there: `null` where it is not set. `--fields status.state,labels.customer` leaves the named
ones, each in its place, and makes them the columns of tables; the last name of a path is enough where it is clear, and
`--fields help` lists them all. `--time` changes how people see times, never JSON.

| Command | `-o json` |
|---|---|
| `run`, `submit`, `wait ID`, `job get`, `describe`, `clone`, `cancel` and `retry` of one ID | a `Job` |
| the same with several ids, or with `--filter` | `{"jobs": [Job, ...]}` |
| the same with `--dry-run` | `{"jobs": [the newest 5], "count": ..., "has_more": ..., "states": {...}}` |
| `job list` | `{"jobs": [...], "next_page_token": ..., "cursor": ...}`, over all pages (no token: `null`) |
| `submit --from-jsonl` | `{"results": [SubmitResult, ...]}`, one for each line |
| `watch`, `job events` | `{"events": [JobEvent, ...]}`, closed on every way out, Ctrl+C and SIGTERM included |
| `job result` | a `Payload` |
| `job delete` | `{"deleted": [id, ...]}` |
| `worker list` | `{"workers": [Worker, ...], "next_page_token": ...}`, over all pages that were read |
| `top` | `{"server", "queues", "is_cut", "failed_within_1h", "failed_is_cut", "workers", "oldest"}` |
| `bench` | `{"bench", "clients", "rate", "size_bytes", "seconds", "count", "per_second", "errors", "latency_ms"}` |
| `explain` | `{"codes": [{"code", "kind", "meaning", "grpc_code", "repeat", "advice", "exit_code"}, ...]}` |
| `cheat` | `{"topics": [{"topic", "commands": [{"purpose", "command"}, ...]}, ...]}` |
| `work` | `{"jobs": [{"job_id", "type", "queue", "attempt", "max_attempts", "outcome", "seconds", "error"}, ...]}` |
| `version` | `{"client": {...}, "server": ServerInfo or null}` |
| `db ...` | what the help of each command says |
| `proto` | `{"files": [path, ...]}` |
| `config show` | `{"file", "context", "settings": [{"name", "value", "origin": {"place", "name", "where"}}, ...]}` |
| `config get` | `{"name", "value", "origin"}` |
| `config list` | `{"file", "contexts": [{"name", "current", "settings": {...}}, ...]}` |
| `doctor` | `{"ok", "findings": [{"check", "level", "text", "advice", "facts"}, ...]}` |
| `check` | `{"check", "status", "text", "measure", "value", "warn", "crit"}` |
| `health` | `{"healthy", "status", "error"}` |
| any command with `--show-grpcurl` | `{"grpcurl": [line, ...], "then": text or null}` |
| `conformance` | `{"points": [{"name", "verdict", "seconds", ...}, ...], "passed": ..., "failed": ...}` |

With `json`, `jsonl` and `yaml` an error is one JSON object on stderr,
`{"error": {"code", "grpc_code", "message", "hint", "details"}}`, and nothing else is (unless stderr is a terminal)."""

_OTHER_EXIT_CODES: Final = """\
Two commands are read by machines that have exit codes of their own: `check` answers 0 ok, 1 warning, 2 critical,
3 unknown; `health` answers 0 or 1."""

_ERRORS: Final = """\
## Error codes

The code in `error[CODE]` is the `reason` of the server's `ErrorInfo` (see [errors.md](errors.md)), or one of these,
which no server sends:"""

_LINES: Final = """\
### Lines of a JSONL file

Each line is a JSON object with some of these fields:
{fields}.

`payload` is any JSON; `labels` and `headers` are objects of strings and add to those of the flags; the others are
written as after the flag of the same name. A line wins over the flags. An empty line is skipped. Each line is a job of
its own: a refused one is named and does not stop the others."""


def render() -> str:
    """Return the page."""
    context = click.Context(root, info_name="jobwire", **root.context_settings)
    blocks = [
        generated_from("`client/jobwire/cli/`"),
        _INTRODUCTION,
        "## Global flags",
        "They may stand before or after the command; the last one wins.",
        table(("Flag", "Meaning"), [_row(option) for option in global_options()]),
        _TIMEOUT,
        _SETTINGS,
        table(("Setting", "Environment", "Meaning"),
              ((f"`{key.name}`", f"`{key.variable}`", key.help) for key in KEYS.values())),
        _OUTPUT,
        "## Exit codes",
        table(("Code", "Meaning"), ((str(int(code)), EXIT_MEANINGS[code]) for code in ExitCode)),
        _OTHER_EXIT_CODES,
        _ERRORS,
        table(("Code", "Exit code", "Meaning"),
              ((f"`{code}`", str(int(exit_code)), text) for code, (exit_code, text) in LOCAL_CODES.items())),
        "## Commands",
        *_commands(context),
        *_db_commands(context),
    ]  # fmt: skip
    return "\n\n".join(blocks) + "\n"


def _commands(context: click.Context) -> Iterator[str]:
    for name in COMMANDS:
        command = root.get_command(context, name)
        assert command is not None
        if not isinstance(command, click.Group):
            yield from _section(command, name, context)
            continue
        inner = click.Context(command, info_name=name, parent=context)
        for verb in NOUNS[name]:
            found = command.get_command(inner, verb)
            assert found is not None
            yield from _section(found, verb, inner)


def _db_commands(context: click.Context) -> Iterator[str]:
    """The commands that look after a store: a plug-in of the server, with few of the global flags."""
    group = root.get_command(context, "db")
    assert isinstance(group, click.Group)
    inner = click.Context(group, info_name="db", parent=context)
    shared = {name for option in global_options() for name in option.opts}
    for name in group.commands:
        command = group.commands[name]
        arguments = [param for param in command.params if isinstance(param, click.Argument)]
        usage = "".join(f" {argument.make_metavar(inner)}" for argument in arguments)
        yield f"### {inner.command_path} {name}{usage}"
        yield inspect.cleandoc(command.help or "")
        options = [param for param in command.params if isinstance(param, click.Option)]
        yield table(("Flag", "Meaning"), [_row(option) for option in options if not shared.intersection(option.opts)])
        yield f"Example: `{(command.epilog or '').removeprefix('Example: ')}`"


def _section(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join(context.command_path.split()) + "".join(
        f" {param.metavar or param.name}" for param in command.params if isinstance(param, click.Argument)
    )
    yield f"### {usage}"
    yield inspect.cleandoc(command.help or "")
    assert isinstance(command, Command)
    own = [param for param in command.own_params() if isinstance(param, click.Option)]
    if own:
        yield table(("Flag", "Meaning"), [_row(option) for option in own])
    if command.epilog:
        yield f"Example: `{command.epilog.removeprefix('Example: ')}`"
    if name == "submit":
        yield _LINES.format(fields=", ".join(f"`{field}`" for field in LINE_FIELDS))


def _row(option: click.Option) -> tuple[str, str]:
    names = ", ".join([*option.opts, *option.secondary_opts])
    return f"`{names}{_value(option)}`", option.help or ""


def _value(option: click.Option) -> str:
    if option.is_flag or option.count:
        return ""
    if option.metavar:
        return f" {option.metavar}"
    if isinstance(option.type, click.Choice):
        return " " + "|".join(map(str, option.type.choices))
    if isinstance(option.type, click.IntRange):
        low, high = option.type.min, option.type.max
        return f" {low}..{high}" if high is not None else " N"
    return f" {option.type.name.upper()}"
