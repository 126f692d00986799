"""What a user can meet is in the docs: RPCs, fields, reasons, settings, states, errors of jobs."""

import re
import tomllib
from pathlib import Path

import pytest

from jobwire.v1 import admin_service_pb2, job_pb2, job_service_pb2
from jobwire_server.config import SETTINGS, Command, load
from jobwire_server.domain.lifecycle import TRANSITIONS
from tests.docs.pages import ROOT, text_of
from tools.errors_page import reasons

CONTRACT = (job_pb2, job_service_pb2, admin_service_pb2)
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def protocol() -> str:
    return text_of(DOCS / "protocol.md")


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
    rows = {row[0]: row for row in rows_of(text_of(DOCS / "errors.md")) if len(row) == 5}
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
    explained = {row[0].strip("`") for row in rows_of(text_of(DOCS / "errors.md"))}
    assert types <= explained


def test_every_setting_is_in_the_configuration_with_all_its_names() -> None:
    rows = rows_of(text_of(DOCS / "configuration.md"))
    named = {row[0]: row for row in rows}
    for setting in SETTINGS:
        row = named[f"`{setting.flag}` (file: `{setting.name}`)"]
        assert row[1] == f"`{setting.variable}`"
        assert setting.help in row[-1]


@pytest.mark.parametrize("command", Command)
def test_the_example_of_a_configuration_file_is_one(command: Command, tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", text_of(DOCS / "configuration.md"), re.DOTALL)
    path = tmp_path / "jobwire.toml"
    path.write_text(example, encoding="utf-8")
    config = load(command, {}, {}, path)
    assert config.slots == tomllib.loads(example)["slots"]


def test_every_transition_is_drawn_and_listed() -> None:
    page = text_of(DOCS / "state-machine.md")
    rows = {tuple(row[:3]) for row in rows_of(page)}
    for state, events in TRANSITIONS.items():
        for event, step in events.items():
            assert (state.name, event.value, step.to.name) in rows
            assert re.search(rf"^    {state.name} --> {step.to.name}: .*\b{event.value}\b", page, re.MULTILINE)


def section_of(page: str, heading: str) -> str:
    """The text below a heading of the third level, up to the next one."""
    return page.split(f"\n### {heading}\n", 1)[1].split("\n### ", 1)[0]


def rows_of(page: str) -> list[list[str]]:
    """Cells of all table rows of a page."""
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in page.splitlines()
        if line.startswith("| ")
    ]
