"""What a user can meet is in the docs: RPCs, fields, commands, flags, reasons, settings, states, names in Python."""

import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from jobwire.cli.faults import LOCAL_CODES, ExitCode
from jobwire.cli.root import root
from jobwire.v1 import job_service_pb2
from jobwire_server.config import SETTINGS, Command, load
from jobwire_server.domain.lifecycle import TRANSITIONS
from tests.docs.pages import ROOT, rows_of, text_of
from tools.errors_page import reasons
from tools.python_page import PACKAGES

CONTRACT = [
    importlib.import_module(f"jobwire.v1.{path.stem}_pb2")
    for path in sorted((ROOT / "protos/jobwire/v1").glob("*.proto"))
]
REFERENCE = ROOT / "docs/reference"


@pytest.fixture(scope="module")
def protocol() -> str:
    return text_of(REFERENCE / "protocol.md")


def test_every_rpc_has_a_section_of_its_own_in_the_protocol(protocol: str) -> None:
    for module in CONTRACT:
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                assert f"\n### {service.name}.{method.name}\n" in protocol


def test_every_message_field_and_enum_value_is_in_the_protocol(protocol: str) -> None:
    for module in CONTRACT:
        for message in module.DESCRIPTOR.message_types_by_name.values():
            section = section_of(protocol, message.name)
            assert all(f"| `{field.name}` | {field.number} |" in section for field in message.fields), message.name
        for enum in module.DESCRIPTOR.enum_types_by_name.values():
            section = section_of(protocol, enum.name)
            assert all(f"| `{value.name}` | {value.number} |" in section for value in enum.values), enum.name


def test_every_rpc_of_jobs_names_its_errors_and_every_reason_is_named_somewhere(protocol: str) -> None:
    for method in job_service_pb2.DESCRIPTOR.services_by_name["JobService"].methods:
        section = section_of(protocol, f"JobService.{method.name}")
        assert any(f" {reason}" in section for reason in reasons()), method.name
    assert {reason for reason in reasons() if reason not in protocol} == set()


def test_every_reason_stands_in_the_catalogue_with_a_meaning_a_code_and_an_advice() -> None:
    rows = {row[0]: row for row in rows_of(text_of(REFERENCE / "errors.md")) if len(row) == 5}
    for reason in reasons():
        _, code, meaning, advice, in_python = rows[f"`{reason}`"]
        assert re.fullmatch(r"[A-Z_]+", code), reason
        assert meaning.endswith("."), reason
        assert advice.endswith("."), reason
        assert in_python, reason


def test_every_error_type_that_jobwire_itself_gives_to_a_job_is_explained() -> None:
    given = re.compile(r"""(?:Failure\(\s*|JobError\(\s*type=)"([A-Z]\w+)\"""")
    sources = [*(ROOT / "client/jobwire/worker").rglob("*.py"), *(ROOT / "server/jobwire_server").rglob("*.py")]
    types = {name for source in sources for name in given.findall(text_of(source))}
    assert {"TIMEOUT", "LEASE_LOST", "POISONED"} <= types
    explained = {row[0].strip("`") for row in rows_of(text_of(REFERENCE / "errors.md"))}
    assert types <= explained


def test_every_setting_is_in_the_configuration_with_all_its_names() -> None:
    rows = rows_of(text_of(REFERENCE / "configuration.md"))
    named = {row[0]: row for row in rows}
    for setting in SETTINGS:
        row = named[f"`{setting.flag}` (file: `{setting.name}`)"]
        assert row[1] == f"`{setting.variable}`"
        assert setting.help in row[-1]


@pytest.mark.parametrize("command", Command)
def test_the_example_of_a_configuration_file_is_one(command: Command, tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", text_of(REFERENCE / "configuration.md"), re.DOTALL)
    path = tmp_path / "jobwire.toml"
    path.write_text(example, encoding="utf-8")
    config = load(command, {}, {}, path)
    assert config.slots == tomllib.loads(example)["slots"]


def test_every_transition_is_drawn_and_listed() -> None:
    page = text_of(REFERENCE / "state-machine.md")
    rows = {tuple(row[:3]) for row in rows_of(page)}
    for state, events in TRANSITIONS.items():
        for event, step in events.items():
            assert (state.name, event.value, step.to.name) in rows
            assert re.search(rf"^    {state.name} --> {step.to.name}: .*\b{event.value}\b", page, re.MULTILINE)


def test_every_command_has_a_section_of_its_own_with_all_its_flags() -> None:
    page = text_of(REFERENCE / "cli.md")
    commands = dict(commands_of(root, click.Context(root, info_name="jobwire", **root.context_settings), "jobwire"))
    assert {"jobwire run", "jobwire job list"} <= set(commands)
    for path, command in commands.items():
        if path in ("jobwire dev", "jobwire serve"):
            continue  # their flags are the settings
        heading = re.search(rf"^### ({re.escape(path)}(?: .*)?)$", page, re.MULTILINE)
        assert heading, path
        section = section_of(page, heading[1])
        flags = {flag for option in command.params if isinstance(option, click.Option) for flag in option.opts}
        missing = {flag for flag in flags if flag not in section and not is_global(page, flag)}
        assert missing == set(), path


def test_the_commands_that_start_a_server_have_no_flags_but_the_settings() -> None:
    page = text_of(REFERENCE / "configuration.md")
    context = click.Context(root, info_name="jobwire", **root.context_settings)
    for name in ("dev", "serve"):
        command = root.get_command(context, name)
        assert command is not None
        for option in command.params:
            assert any(f"`{flag}" in page for flag in option.opts), option.opts


def test_every_exit_code_and_every_code_of_the_command_line_has_a_meaning() -> None:
    rows = {row[0]: row for row in rows_of(text_of(REFERENCE / "cli.md"))}
    for code in ExitCode:
        assert rows[str(int(code))][1].endswith("."), code
    for code in LOCAL_CODES:
        assert rows[f"`{code}`"][2].endswith("."), code


def test_every_public_name_of_the_package_has_a_section_with_its_contract() -> None:
    page = text_of(REFERENCE / "python.md")
    prefixes = {"jobwire": "", **{package: f"{package}." for package in PACKAGES if package != "jobwire"}}
    for package, prefix in prefixes.items():
        for name in importlib.import_module(package).__all__:
            section = re.sub(r"```.*?```", "", section_of(page, f"{prefix}{name}"), flags=re.DOTALL)
            assert re.search(r"[A-Z`].+\.", section), f"{prefix}{name}"


def commands_of(group: click.Group, context: click.Context, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command below a group, by what people type."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            inner = click.Context(command, info_name=name, parent=context)
            yield from commands_of(command, inner, f"{path} {name}")
        elif not command.hidden:
            yield f"{path} {name}", command


def is_global(page: str, flag: str) -> bool:
    """True for a flag of every command, which the page lists once."""
    return flag in page.split("## Global flags", 1)[1].split("## ", 1)[0] or flag in ("-h", "--help")


def section_of(page: str, heading: str) -> str:
    """The text below a heading of the third level, up to the next one of that level or above."""
    return re.split(r"\n##{1,2} ", page.split(f"\n### {heading}\n", 1)[1], maxsplit=1)[0]
