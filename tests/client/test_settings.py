"""Where a client finds its server."""

from __future__ import annotations

import pickle

import pytest

import jobwire
from jobwire.errors import ArgumentInvalid
from jobwire.settings import Settings


@pytest.fixture(params=[jobwire.Client, jobwire.AsyncClient])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[jobwire.Client]:
    monkeypatch.delenv("JOBWIRE_ADDRESS", raising=False)
    return request.param


def test_without_a_word_it_is_the_default(make: type[jobwire.Client]) -> None:
    assert make().settings == Settings(address="127.0.0.1:7780", origin="default")


def test_the_environment_names_the_server(make: type[jobwire.Client], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBWIRE_ADDRESS", "jobs.internal:7780")

    assert make().settings == Settings(address="jobs.internal:7780", origin="JOBWIRE_ADDRESS")


def test_an_argument_wins_over_the_environment(make: type[jobwire.Client], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBWIRE_ADDRESS", "jobs.internal:7780")

    assert make("unix:/run/jobwire").settings == Settings(address="unix:/run/jobwire", origin="argument")


@pytest.mark.parametrize(
    "address", ["[::1]:7780", "localhost:1", "dns:///jobs.internal:7780", "unix:/a/b", "ipv4:1.2.3.4:5"]
)
def test_these_are_addresses(make: type[jobwire.Client], address: str) -> None:
    assert make(address).settings.address == address


@pytest.mark.parametrize(
    "address", ["", "localhost", "host:", ":7780", "host:99999", "host:0", "http://host:1", "a b:1"]
)
def test_these_are_not(make: type[jobwire.Client], address: str) -> None:
    with pytest.raises(ArgumentInvalid, match="argument"):
        make(address)


def test_a_wrong_address_in_the_environment_is_blamed_on_it(
    make: type[jobwire.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBWIRE_ADDRESS", "nonsense")

    with pytest.raises(ArgumentInvalid, match="JOBWIRE_ADDRESS"):
        make()


def test_certificates_switch_tls_on(make: type[jobwire.Client]) -> None:
    assert make(ca="ca.pem").settings.tls
    with pytest.raises(ArgumentInvalid, match="belong together"):
        make(cert="me.pem")


def test_a_client_can_be_sent_to_another_process(make: type[jobwire.Client]) -> None:
    client = make("localhost:1234", deadline="3s")

    copy = pickle.loads(pickle.dumps(client))

    assert type(copy) is make
    assert copy.settings == client.settings


def test_a_handle_can_be_sent_to_another_process(make: type[jobwire.Client]) -> None:
    handle = pickle.loads(pickle.dumps(make("localhost:1234").job("j1")))

    assert handle.id == "j1"
