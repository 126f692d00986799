"""`jobwire db`: looking after a store, beside its servers or without one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from jobwire.cli.faults import CliError, as_clause
from jobwire.cli.flags import global_options
from jobwire.cli.invocation import Invocation, Output
from jobwire_server.cli import db_text
from jobwire_server.config import CONFIG_VARIABLE, ConfigInvalid, PostgresUrl, find_database

if TYPE_CHECKING:
    from jobwire_server.kernel.clock import Clock
    from jobwire_server.store.audit import Problem
    from jobwire_server.store.moving import Carried, Source, Target

_SHARED: Final = frozenset({"output", "quiet", "color"})
"""Global flags that mean something without a server."""


@click.group(
    "db",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Example: jobwire db backup /backups/jobs-$(date +%F).db",
)
def db() -> None:
    """Look after a store: status, check, migrate; carry it from SQLite to PostgreSQL and back: import, export.

    For a store in a SQLite file there are also backup, restore and sql; a database has tools of its own for these.

    The store is the one of --db, else what a server that is started here would open: JOBWIRE_DB, the `db` of
    jobwire.toml, and last .jobwire/dev.db. `restore`, `migrate`, `import`, `export` and `renew` need the servers to be
    stopped.
    """


Kind = type[Path] | type[PostgresUrl]
Place = Path | PostgresUrl
ANY: Final = (Path, PostgresUrl)
_ELSEWHERE: Final[Mapping[str, str]] = {
    "backup": "A database has tools of its own: pg_dump. To carry the store into a file: jobwire db export.",
    "restore": "A database has tools of its own: pg_restore. To carry a file into it: jobwire db import.",
    "sql": "A database has tools of its own: psql, schema jobwire.",
    "import": "To put a file in the place of another: jobwire db restore.",
    "export": "To copy a file: jobwire db backup.",
}


def _command(
    name: str, summary: str, epilog: str, *, kinds: Sequence[Kind] = (Path,)
) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command of a function of (invocation, store, …), with the flags that all of them share. `kinds`: what
    stores it is for."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        def run(db_: str | None, config: Path | None, **arguments: Any) -> Any:
            invocation = click.get_current_context().ensure_object(Invocation)
            with _faults():
                store = find_database(db_, invocation.environ, config)
                if not isinstance(store, tuple(kinds)):
                    kind = "a SQLite file" if Path in kinds else "a PostgreSQL database, named by --db postgresql://…"
                    raise ConfigInvalid(f"jobwire db {name} is for a store in {kind}. {_ELSEWHERE[name]}")
                return function(invocation, store, **arguments)

        made = click.Command(
            name,
            callback=run,
            params=[*getattr(function, "__click_params__", [])[::-1], *_place_options(), *_shared_options()],
            help=function.__doc__,
            short_help=summary,
            epilog=epilog,
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
        )
        db.add_command(made)
        return made

    return decorate


def _place_options() -> list[click.Option]:
    return [
        click.Option(
            ["--db", "db_"], metavar="STORE", help="FILE or postgresql://… Default: what a server here would open."
        ),
        click.Option(
            ["--config"],
            metavar="FILE",
            type=click.Path(path_type=Path),
            help=f"Look for `db` in this TOML file. [{CONFIG_VARIABLE}]",
        ),
    ]


def _shared_options() -> list[click.Option]:
    return [option for option in global_options() if option.name in _SHARED]


@contextmanager
def _faults() -> Iterator[None]:
    """Say every error that is foreseen in the command line's own way."""
    from jobwire_server.domain.errors import StoreUnavailable  # noqa: PLC0415 - help needs none of it
    from jobwire_server.store.moving import CopyDiffers  # noqa: PLC0415
    from jobwire_server.store.sqlite.connection import StoreInUse  # noqa: PLC0415
    from jobwire_server.store.sqlite.copying import CopyDamaged, TargetTaken  # noqa: PLC0415
    from jobwire_server.store.sqlite.querying import QueryRefused  # noqa: PLC0415

    table: Sequence[tuple[type[Exception], str, Sequence[str]]] = (
        (FileNotFoundError, "STORE_NOT_FOUND", ("name it:   jobwire db … --db FILE",)),
        (StoreInUse, "STORE_IN_USE", ("see who:   jobwire db status",)),
        (CopyDiffers, "STORE_DAMAGED", ()),
        (StoreUnavailable, "STORE_UNREADABLE", ()),
        (TargetTaken, "TARGET_EXISTS", ("choose another name, or say --force",)),
        (QueryRefused, "ARGUMENT_INVALID", ("see:   jobwire db sql --schema",)),
        (OSError, "OUTPUT_UNWRITABLE", ()),
    )
    try:
        yield
    except ModuleNotFoundError as error:
        raise CliError(
            "STORE_UNREADABLE",
            f"the PostgreSQL driver is not installed ({error})",
            hints=("install it:   pip install 'jobwire[postgres]'",),
        ) from error
    except ConfigInvalid as error:
        raise click.UsageError(str(error)) from error
    except CopyDamaged as error:
        problems = [each._asdict() for each in error.problems]
        raise _damaged("the copy did not pass the check, and was removed", problems) from error
    except tuple(kind for kind, _, _ in table) as error:
        _, code, hints = next(row for row in table if isinstance(error, row[0]))
        raise CliError(code, _clause(error), hints=hints) from error


def _clause(error: BaseException) -> str:
    match error:
        case FileNotFoundError():
            return f"there is no file {error.filename or error}"
        case OSError():
            return f"cannot write {error.filename} ({error.strerror})"
        case _:
            return as_clause(str(error))


def _damaged(message: str, problems: Sequence[dict[str, Any]]) -> CliError:
    return CliError(
        "STORE_DAMAGED",
        message,
        why=[db_text.problem_line(each) for each in problems],
        hints=["stop the server and put a backup in its place:   jobwire db restore BACKUP"],
        details={"problems": list(problems)},
    )


# --- commands ------------------------------------------------------------------------------------------------------


@_command(
    "status", "Show what a store is and what is in it.", "Example: jobwire db status --db jobs.db -o json", kinds=ANY
)
def status(invocation: Invocation, store: Place) -> None:
    """Show what a store is and what is in it: size, schema, epoch, jobs by state, and which servers have it open.

    Reads one snapshot, also while a server works. -o json prints one object; times are RFC 3339, null = never.
    """
    if isinstance(store, Path):
        from jobwire_server.store.sqlite.visiting import read_status  # noqa: PLC0415

        found = read_status(store)
        _print(invocation, db_text.status_document(found), lambda: db_text.status_lines(found), identifier=store)
    else:
        from jobwire_server.store.postgres import visiting  # noqa: PLC0415 - an extra

        there = visiting.read_status(store.url)
        document = db_text.database_document(str(store), there)
        _print(invocation, document, lambda: db_text.database_lines(str(store), there), identifier=store)


@_command(
    "backup",
    "Copy the store while its server works.",
    "Example: jobwire db backup /backups/jobs-$(date +%F).db --db jobs.db",
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace what has the name. It stays until the new backup is complete.")
def backup(invocation: Invocation, store: Path, path: Path, force: bool) -> None:
    """Copy the store to PATH while its server works. What was acknowledged before the call is in the copy.

    The copy is checked, row by row, and synced before it gets its name: under PATH there is never a half of one. A
    backup that was killed leaves PATH.PID.part, which may be deleted. While it is read the server's WAL grows by what
    the server writes. -o json prints {"path", "bytes", "checked"}.
    """
    from jobwire_server.kernel.clock import SystemClock  # noqa: PLC0415
    from jobwire_server.store.sqlite.copying import back_up  # noqa: PLC0415

    done = back_up(store, path, overwrite=force, clock=SystemClock(), progress=_progress(invocation))
    document = {"path": str(done.path), "bytes": done.bytes, "checked": done.checked}
    _print(invocation, document, lambda: db_text.backup_lines(done), identifier=path)


@_command(
    "restore",
    "Put a backup in the place of the store.",
    "Example: jobwire db restore /backups/jobs-2026-11-25.db --db jobs.db",
)
@click.argument("path", metavar="BACKUP", type=click.Path(path_type=Path))
def restore(invocation: Invocation, store: Path, path: Path) -> None:
    """Put a backup in the place of the store, whose server must be stopped. The old store is kept beside it.

    The next server that opens it begins a new life of the store: a new epoch, so that watchers with old cursors are
    told STORE_EPOCH_CHANGED; fences above all that were given out before, so that late reports of workers are told
    LEASE_LOST; and what was running when the backup was made goes back to be run again. Request keys stay.
    -o json prints {"path", "bytes", "checked", "kept"}.
    """
    from jobwire_server.kernel.clock import SystemClock  # noqa: PLC0415
    from jobwire_server.store.sqlite.copying import restore as put_back  # noqa: PLC0415

    done = put_back(path, store, clock=SystemClock(), progress=_progress(invocation))
    document = {"path": str(done.path), "bytes": done.bytes, "checked": done.checked,
                "kept": None if done.kept is None else str(done.kept)}  # fmt: skip
    _print(invocation, document, lambda: db_text.restore_lines(done), identifier=store)


@_command("check", "Check every row of a store.", "Example: jobwire db check --db jobs.db", kinds=ANY)
@click.option("--limit", type=click.IntRange(1), default=100, help="Most problems to name. Default: 100.")
def check(invocation: Invocation, store: Place, limit: int) -> None:
    """Check every row of a store: jobs against their logs, events against each other, and what belongs to jobs.

    Reads one snapshot, also while a server works. Names each row that is wrong; exit code 0 when the store is sound,
    11 when not. -o json prints {"sound", "problems": [{"table", "row", "problem"}, ...], "more"}.
    """
    found = [each._asdict() for each in islice(_problems_of(store), limit + 1)]
    problems, more = found[:limit], len(found) > limit
    document = {"sound": not problems, "problems": problems, "more": more}
    _print(
        invocation, document, lambda: db_text.check_lines(store, problems, more=more), identifier=store, rows=problems
    )
    if problems:
        count = f"more than {limit} problems" if more else f"{len(problems)} problem{'s' * (len(problems) > 1)}"
        raise _damaged(f"{store} has {count}", [])


def _problems_of(store: Place) -> Iterator[Problem]:
    if isinstance(store, Path):
        from jobwire_server.store.sqlite import visiting as file  # noqa: PLC0415

        return file.check_store(store)
    from jobwire_server.store.postgres import visiting as database  # noqa: PLC0415 - an extra

    return database.check_store(store.url)


@_command(
    "migrate",
    "Bring the schema up to date.",
    "Example: jobwire db migrate --dry-run --show-sql --db jobs.db",
    kinds=ANY,
)
@click.option("--dry-run", is_flag=True, help="Say what would run, and change nothing.")
@click.option("--show-sql", is_flag=True, help="Print the statements, too.")
def migrate(invocation: Invocation, store: Place, dry_run: bool, show_sql: bool) -> None:
    """Bring the schema of a store up to date, as the next start of a server does by itself.

    Each migration is one transaction. The servers must be stopped, but for --dry-run. There is no way back: make a
    backup first. -o json prints {"migrations": [{"name", "sql"}, ...], "done"}.
    """
    from jobwire_server.kernel.clock import SystemClock  # noqa: PLC0415

    if isinstance(store, Path):
        from jobwire_server.store.sqlite import visiting as file  # noqa: PLC0415

        pending = file.pending_at(store)
        if not dry_run:
            file.bring_up_to_date(store, SystemClock())
    else:
        from jobwire_server.store.postgres import visiting as database  # noqa: PLC0415 - an extra

        pending = database.pending_at(store.url)
        if not dry_run:
            database.bring_up_to_date(store.url, SystemClock())
    rows = [{"name": f"{each.number:04d}_{each.name}", "sql": each.sql if show_sql else None} for each in pending]
    document = {"migrations": rows, "done": not dry_run}
    _print(invocation, document, lambda: db_text.migrate_lines(rows, dry_run=dry_run), identifier=store, rows=rows)


@_command(
    "sql",
    "Ask a store in SQL, read-only.",
    'Example: jobwire db sql "SELECT state_name(state), count(*) FROM job GROUP BY state"',
)
@click.argument("query", required=False)
@click.option("--schema", is_flag=True, help="Print the statements that made the tables, instead.")
def sql(invocation: Invocation, store: Path, query: str | None, schema: bool) -> None:
    """Ask a store in SQL: one SELECT, from the command line or from stdin. Nothing can be changed.

    Beside SQLite's functions there are state_name(state) and iso_time(microseconds). Reads one snapshot, also while a
    server works; a long query keeps its WAL from shrinking. -o json prints {"columns", "rows": [{column: value}, ...]};
    bytes are written in hexadecimal.
    """
    from jobwire_server.store.sqlite.querying import Question, schema_of  # noqa: PLC0415

    if schema:
        statements = list(schema_of(store))
        _print(
            invocation,
            {"schema": statements},
            lambda: statements,
            identifier=store,
            rows=[{"sql": each} for each in statements],
        )
        return
    with closing(Question(store, query or _question_from_stdin())) as question:
        rows = [[db_text.plain(value) for value in row] for row in question]
        named = [dict(zip(question.columns, row, strict=True)) for row in rows]
        document = {"columns": list(question.columns), "rows": named}
        _print(invocation, document, lambda: db_text.row_lines(question.columns, rows), identifier=store, rows=named)


def _question_from_stdin() -> str:
    if sys.stdin.isatty():
        raise click.UsageError("No query: name one, or write it to stdin.")
    return sys.stdin.read()


# --- carrying a store from one database to another -----------------------------------------------------------------


@_command(
    "import",
    "Carry a store from a SQLite file into PostgreSQL.",
    "Example: jobwire db import jobs.db --db postgresql://jobwire@db.example.net/jobs",
    kinds=(PostgresUrl,),
)
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
def import_(invocation: Invocation, store: PostgresUrl, path: Path) -> None:
    """Carry the store in FILE, whose server must be stopped, into the empty database of --db.

    Everything goes along: jobs with their ids, payloads and results, their history with its revisions, request keys,
    secrets. A move that was killed goes on where it stopped when it is run again; no server opens half of a store. In
    the end every row of both is read again and compared. FILE stays as it is: start no server on it any more.

    The first server that opens the new store begins a new life of it, as after a restore.
    -o json prints {"from", "to", "resumed", "rows": {table: count}}.
    """
    from jobwire_server.store.postgres import house as database  # noqa: PLC0415 - an extra
    from jobwire_server.store.sqlite import house as file  # noqa: PLC0415

    with file.leaving(path) as source, database.arriving(store.url, _clock()) as target:
        done = _carry(invocation, source, target)
    _print_carried(invocation, done, str(path), store)


@_command(
    "export",
    "Carry a store from PostgreSQL into a SQLite file.",
    "Example: jobwire db export jobs.db --db postgresql://jobwire@db.example.net/jobs",
    kinds=(PostgresUrl,),
)
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
def export(invocation: Invocation, store: PostgresUrl, path: Path) -> None:
    """Carry the store in the database of --db, whose servers must be stopped, into a new file: a store as any other.

    As `import`, the other way round. Until it is whole the file has the name FILE.part.
    -o json prints {"from", "to", "resumed", "rows": {table: count}}.
    """
    from jobwire_server.store.postgres import house as database  # noqa: PLC0415 - an extra
    from jobwire_server.store.sqlite import house as file  # noqa: PLC0415

    with database.leaving(store.url) as source, file.arriving(path, _clock()) as target:
        done = _carry(invocation, source, target)
    _print_carried(invocation, done, str(store), path)


def _carry(invocation: Invocation, source: Source, target: Target) -> Carried:
    from jobwire_server.store.moving import carry  # noqa: PLC0415

    return carry(source, target, now_us=_clock().wall_us, progress=_progress(invocation))


def _clock() -> Clock:
    from jobwire_server.kernel.clock import SystemClock  # noqa: PLC0415

    return SystemClock()


def _print_carried(invocation: Invocation, done: Carried, origin: str, target: Place) -> None:
    document = {"from": origin, "to": str(target), "resumed": done.resumed, "rows": dict(done.rows)}
    _print(invocation, document, lambda: db_text.carried_lines(done, origin, str(target)), identifier=target)


@_command(
    "renew",
    "Begin a new life of a store that was copied by other means.",
    "Example: jobwire db renew --db jobs.db",
    kinds=ANY,
)
def renew(invocation: Invocation, store: Place) -> None:
    """Begin a new life of a store that was copied by other means than jobwire's, and cannot tell that it is a copy.

    A new epoch, fences and revisions above all that were given out before, and what was running goes back: as the first
    start after a restore or an import does by itself. The servers must be stopped.
    -o json prints {"epoch", "leases_ended"}.
    """
    if isinstance(store, Path):
        from jobwire_server.store.sqlite import visiting as file  # noqa: PLC0415

        life = file.renew(store, _clock())
    else:
        from jobwire_server.store.postgres import visiting as database  # noqa: PLC0415 - an extra

        life = database.renew(store.url)
    document = {"epoch": life.epoch, "leases_ended": life.leases_ended}
    _print(invocation, document, lambda: [f"✓ epoch {life.epoch} · {life.leases_ended} leases ended"], identifier=store)


# --- printing ------------------------------------------------------------------------------------------------------


def _print(
    invocation: Invocation,
    document: dict[str, Any],
    lines: Callable[[], Sequence[str]],
    *,
    identifier: Place,
    rows: Sequence[dict[str, Any]] | None = None,
) -> None:
    """Write the answer in the asked format. `rows` are the objects of `jsonl`, else it is the document."""
    from jobwire.cli.output import Printer, compact  # noqa: PLC0415 - help pages need no protobuf

    printer = Printer(invocation)
    if rows is not None and printer.output is Output.JSONL:
        for row in rows:
            printer.line(compact(row))
        return
    printer.document(lambda: document, identifier=str(identifier), text=lambda: "\n".join(lines()))


def _progress(invocation: Invocation) -> Callable[[int, int], None]:
    """Say on stderr how far a copy is, at every tenth."""
    told = 0

    def tell(done: int, total: int) -> None:
        nonlocal told
        tenth = 10 * done // max(total, 1)
        if tenth > told and not invocation.quiet:
            told = tenth
            click.echo(f"copied {tenth}0 %" + (", checking" if done == total else ""), file=invocation.stderr)

    return tell
