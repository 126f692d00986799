"""What cannot be run here is held to the schemas of those who run it, and to the server that it starts."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobwire_server.config import Command, load
from tests.helpers.processes import JOBWIRE, REPOSITORY

DEPLOY = REPOSITORY / "deploy"
BIN = Path(JOBWIRE[0]).parent
COMPOSE = DEPLOY / "compose" / "compose.yaml"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def containers() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every container of the manifests, with the spec of its pod, by its name."""
    found = []
    for file in KUBERNETES:
        for document in yaml.safe_load_all(file.read_text()):
            if document["kind"] == "Deployment":
                pod = document["spec"]["template"]["spec"]
                found += [(each["name"], pod, each) for each in pod["containers"]]
    return found


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_the_compose_file_is_one() -> None:
    subprocess.run(
        [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE], check=True, capture_output=True
    )


@pytest.mark.parametrize("file", KUBERNETES, ids=lambda file: file.name)
def test_kubernetes_knows_every_field(file: Path) -> None:
    subprocess.run([BIN / "kubernetes-validate", "--strict", file], check=True, capture_output=True)


@pytest.mark.parametrize(("name", "pod", "container"), containers(), ids=[each[0] for each in containers()])
def test_a_pod_is_killed_later_than_its_grace_ends(name: str, pod: dict[str, Any], container: dict[str, Any]) -> None:
    environment = {each["name"]: each.get("value") for each in container["env"]}
    grace = seconds(environment.get("JOBWIRE_GRACE") or "30s")
    assert pod["terminationGracePeriodSeconds"] > grace + 2, name
    assert seconds(environment.get("JOBWIRE_DRAIN_DELAY") or "0s") < grace


def test_a_rolling_update_takes_no_server_away_before_another_is_ready() -> None:
    [deployment, *_] = yaml.safe_load_all((DEPLOY / "kubernetes" / "jobwire.yaml").read_text())
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    [server] = deployment["spec"]["template"]["spec"]["containers"]
    assert server["readinessProbe"]["grpc"]["port"] == 7780
    assert "--live" in server["livenessProbe"]["exec"]["command"], "a server that drains is not to be killed"


def environments() -> dict[str, dict[str, str]]:
    """What servers are started with, by place."""
    compose = yaml.safe_load(COMPOSE.read_text())
    found = {f"compose {name}": compose["services"][name]["environment"] for name in ("one", "two")}
    for name, _, container in containers():
        if name == "server":
            found["kubernetes"] = {each["name"]: each["value"] for each in container["env"]}
    return found


@pytest.mark.parametrize("place", environments())
def test_the_server_takes_its_settings(place: str, tmp_path: Path) -> None:
    environment = {name: re.sub(r"\$\{.*?\}", "secret", value) for name, value in environments()[place].items()}
    if "JOBWIRE_DB_FILE" in environment:
        (tmp_path / "db").write_text("postgresql://jobwire:secret@db.example.net/jobs\n")
        environment["JOBWIRE_DB_FILE"] = str(tmp_path / "db")
    config = load(Command.SERVE, {}, environment, None)
    assert str(config.db).startswith("postgresql://jobwire:")
    assert "secret" not in str(config.db)
    assert (config.listen, config.grace, config.drain_delay) == ("0.0.0.0:7780", 45.0, 5.0)


def test_the_image_starts_the_command_and_stops_it_by_the_signal_that_drains() -> None:
    text = (DEPLOY / "compose" / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["jobwire"]' in text
    assert "STOPSIGNAL SIGTERM" in text
    assert re.search(r"^USER jobwire$", text, re.MULTILINE), "not as root"


def test_the_two_configurations_of_envoy_differ_in_their_addresses_alone() -> None:
    def rules(path: Path) -> list[str]:
        lines = (line for line in path.read_text().splitlines() if not line.startswith("#"))
        return [line for line in lines if "address" not in line and line.strip() != "- endpoint:"]

    assert rules(DEPLOY / "compose" / "envoy.yaml") == rules(DEPLOY / "envoy" / "envoy.yaml")
