"""Where a setting comes from: arguments, environment, contexts, defaults."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

import jobwire
from jobwire.contexts import KEYS, Lookup, Place, contexts_path, read_contexts
from jobwire.errors import ArgumentInvalid, ConfigInvalid
from jobwire.settings import Settings, make_settings

TWO_CONTEXTS = """\
# mine
current = "prod"

[contexts.prod]
address = "jobs.internal:7780"   # the real one
timeout = "30s"
tls_ca = "ca.pem"

[contexts."at home"]
address = "unix:/run/jobwire.sock"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(TWO_CONTEXTS)
    return path


@pytest.fixture
def environ(path: Path) -> dict[str, str]:
    return {"JOBWIRE_CONTEXTS": str(path)}


def settings_of(environ: dict[str, str], address: str | None = None, **given: object) -> Settings:
    return make_settings(address, environ, **given)  # type: ignore[arg-type]


def test_the_current_context_says_what_nobody_else_does(environ: dict[str, str], path: Path) -> None:
    assert settings_of(environ) == Settings(
        address="jobs.internal:7780",
        origin=f"context 'prod' ({path}:5)",
        deadline=timedelta(seconds=30),
        tls=True,
        ca=str(path.parent / "ca.pem"),
    )


def test_the_environment_wins_over_the_context_and_an_argument_over_both(environ: dict[str, str]) -> None:
    environ |= {"JOBWIRE_ADDRESS": "other:1", "JOBWIRE_TIMEOUT": "3s"}

    assert settings_of(environ).address == "other:1"
    assert settings_of(environ).deadline == timedelta(seconds=3)
    assert settings_of(environ, "third:1").address == "third:1"
    assert settings_of(environ, deadline="4s").deadline == timedelta(seconds=4)


def test_a_context_that_is_an_argument_wins_over_the_environment(environ: dict[str, str]) -> None:
    """Who names the context of one server must not land at another one."""
    environ |= {"JOBWIRE_ADDRESS": "other:1", "JOBWIRE_CONTEXT": "prod"}

    assert settings_of(environ, context="at home").address == "unix:/run/jobwire.sock"


def test_a_context_of_the_environment_wins_over_the_current_one_and_yields_to_the_rest_of_the_environment(
    environ: dict[str, str],
) -> None:
    environ["JOBWIRE_CONTEXT"] = "at home"
    assert settings_of(environ).address == "unix:/run/jobwire.sock"

    environ["JOBWIRE_ADDRESS"] = "other:1"
    assert settings_of(environ).address == "other:1"


def test_the_tls_of_a_context_is_for_its_own_address_only(environ: dict[str, str]) -> None:
    environ["JOBWIRE_ADDRESS"] = "other:1"

    elsewhere = settings_of(environ)

    assert (elsewhere.tls, elsewhere.ca) == (False, None)
    assert elsewhere.deadline == timedelta(seconds=30)  # that is no secret of a server


def test_an_address_in_the_code_depends_on_no_file(tmp_path: Path) -> None:
    broken = tmp_path / "config.toml"
    broken.write_text("this is not TOML")
    environ = {"JOBWIRE_CONTEXTS": str(broken)}

    assert settings_of(environ, "host:1") == Settings(address="host:1", origin="argument")
    with pytest.raises(ConfigInvalid, match="is not TOML"):
        settings_of(environ)


def test_every_setting_of_a_client_can_come_from_the_environment() -> None:
    made = settings_of({
        "JOBWIRE_ADDRESS": "host:1", "JOBWIRE_TIMEOUT": "1m", "JOBWIRE_TLS_CA": "/ca", "JOBWIRE_CLIENT_CERT": "/cert",
        "JOBWIRE_CLIENT_KEY": "/key", "JOBWIRE_TLS_SERVER_NAME": "jobs", "JOBWIRE_CONTEXTS": os.devnull,
    })  # fmt: skip

    assert made == Settings(
        address="host:1", origin="JOBWIRE_ADDRESS", deadline=timedelta(minutes=1), tls=True, ca="/ca", cert="/cert",
        key="/key", server_name="jobs",
    )  # fmt: skip


def test_no_variable_of_a_client_means_something_else_to_the_server() -> None:
    from jobwire_server.config import SETTINGS, Command, load  # noqa: PLC0415 - only to compare

    ours = {key.variable for key in KEYS.values()} | {"JOBWIRE_CONTEXT", "JOBWIRE_CONTEXTS"}

    assert not ours & {setting.variable for setting in SETTINGS}
    for variable in ours:  # nor does the server take one for a slip of its own
        load(Command.DEV, {}, {variable: "x"}, None)


@pytest.mark.parametrize(
    ("given", "speaks"),
    [
        ({}, True),
        ({"tls": False}, False),
        ({"tls": True}, True),
        ({"tls": False, "files": ("/other", None, None)}, False),
    ],
)
def test_tls_is_spoken_where_a_file_is_named_unless_told_off(
    environ: dict[str, str], given: dict[str, object], speaks: bool
) -> None:
    made = settings_of(environ, **given)

    assert made.tls is speaks
    assert (made.ca is not None) is speaks


def test_an_argument_about_tls_wins_over_a_context_that_says_no(path: Path, environ: dict[str, str]) -> None:
    path.write_text('current = "a"\n[contexts.a]\naddress = "h:1"\ntls = false\n')

    assert not settings_of(environ).tls
    assert settings_of(environ, files=("/ca", None, None)).tls


def test_half_a_pair_says_where_that_half_came_from(environ: dict[str, str]) -> None:
    environ["JOBWIRE_CLIENT_CERT"] = "/me.pem"

    with pytest.raises(ArgumentInvalid, match=r"only /me\.pem \(from: JOBWIRE_CLIENT_CERT\)"):
        settings_of(environ)


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("curent = 'a'", r"config\.toml:1: 'curent' is none of its settings", "did you mean 'current'?"),
        ("address = 'a:1'", "'address' is none of its settings", "below a line such as [contexts.prod]"),
        ("current = 'a'\n[contexts.a]\nadress = 'h:1'", r"toml:3, context 'a': 'adress'", "did you mean 'address'?"),
        ("current = 'b'\n[contexts.a]", r"no context 'b' .*config\.toml:1", "there are: a"),
        ("current = 'prd'\n[contexts.prod]", "no context 'prd'", "did you mean 'prod'?"),
        ("current = 'a'", "no context 'a'", "jobwire config list"),
        ("current = 3", "current must be the name of a context, not 3", ""),
        ("contexts = 3", r"contexts must be tables, such as \[contexts\.prod\]", ""),
        ("current = 'a'\n[contexts.a]\ntimeout = 'soon'", r"config\.toml:3: timeout must be a duration", ""),
        ("current = 'a'\n[contexts.a]\ntimeout = '0s'", "timeout must be a duration longer than 0", ""),
        ("current = 'a'\n[contexts.a]\ntls = 'perhaps'", "tls must be true or false, not 'perhaps'", ""),
        ("current = 'a'\n[contexts.a]\naddress = 7780", "address must be text, not 7780", ""),
        ("current = 'a'\n[contexts.a]\naddress = 'nowhere'", r"'nowhere' is not an address .*:3", "HOST:PORT"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told_with_its_place_and_what_was_perhaps_meant(
    path: Path, environ: dict[str, str], text: str, words: str, hint: str
) -> None:
    path.write_text(text)

    with pytest.raises(ArgumentInvalid, match=words) as told:
        settings_of(environ)
    assert hint in told.value.hint


def test_a_wrong_variable_is_blamed_by_its_name() -> None:
    with pytest.raises(ConfigInvalid, match="environment variable JOBWIRE_TIMEOUT"):
        settings_of({"JOBWIRE_TIMEOUT": "later", "JOBWIRE_CONTEXTS": os.devnull})


def test_a_mistake_in_one_context_does_not_spoil_another(path: Path, environ: dict[str, str]) -> None:
    path.write_text(TWO_CONTEXTS + "nonsense = 1\n")

    assert settings_of(environ).address == "jobs.internal:7780"
    with pytest.raises(ConfigInvalid, match="nonsense"):
        settings_of(environ, context="at home")


def test_lines_are_told_of_what_is_written_as_usual_and_nothing_wrong_of_the_rest(path: Path) -> None:
    path.write_text('contexts.b.address = "b:1"\n[other]\naddress = "x"\n'
                    '[contexts."a"]\n\naddress = "a:1"\n[ contexts . c ]\n"address" = "c:1"\n')  # fmt: skip
    path.write_text(path.read_text().replace('[other]\naddress = "x"\n', ""))

    file = read_contexts(path)

    assert file.where("a", "address") == f"{path}:4"
    assert file.where("c", "address") == f"{path}:6"
    assert file.where("b", "address") == str(path)


def test_the_file_is_where_the_users_settings_are(tmp_path: Path) -> None:
    assert contexts_path({"HOME": "/home/ada"}) == Path("/home/ada/.config/jobwire/config.toml")
    assert contexts_path({"HOME": "/home/ada", "XDG_CONFIG_HOME": "/x"}) == Path("/x/jobwire/config.toml")
    assert contexts_path({"HOME": "/home/ada", "XDG_CONFIG_HOME": "x"}) == Path("/home/ada/.config/jobwire/config.toml")
    assert contexts_path({"JOBWIRE_CONTEXTS": str(tmp_path / "f")}) == tmp_path / "f"


def test_a_file_that_is_not_there_says_nothing_and_one_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    assert settings_of({"JOBWIRE_CONTEXTS": str(tmp_path / "none" / "at" / "all")}).origin == "default"
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        settings_of({"JOBWIRE_CONTEXTS": str(tmp_path)})
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(ConfigInvalid, match="UTF-8"):
        settings_of({"JOBWIRE_CONTEXTS": str(tmp_path / "latin")})


def test_a_lookup_says_who_said_it(environ: dict[str, str], path: Path) -> None:
    lookup = Lookup({"output": "json"}, {**environ, "JOBWIRE_COLOR": "never"})

    assert (lookup.find("output").place, lookup.find("output").value) == (Place.GIVEN, "json")
    assert (lookup.find("color").place, lookup.find("color").name) == (Place.ENVIRONMENT, "JOBWIRE_COLOR")
    assert (lookup.find("timeout").place, lookup.find("timeout").where) == (Place.CONTEXT, f"{path}:6")
    assert lookup.find("tls_key").place is Place.DEFAULT


@pytest.mark.parametrize("make", [jobwire.Client, jobwire.AsyncClient])
def test_both_clients_take_the_context_and_travel_without_it(
    make: type[jobwire.Client], environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    import pickle  # noqa: PLC0415 - the settings cross processes

    monkeypatch.setenv("JOBWIRE_CONTEXTS", str(path))
    monkeypatch.delenv("JOBWIRE_ADDRESS", raising=False)
    client = make(context="at home")
    path.unlink()

    assert client.settings.address == "unix:/run/jobwire.sock"
    assert pickle.loads(pickle.dumps(client)).settings == client.settings


def test_import_reads_no_file(tmp_path: Path) -> None:
    broken = tmp_path / "config.toml"
    broken.write_text("not TOML")
    code = "import sys, jobwire; jobwire.Client('h:1'); print('tomllib' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, "JOBWIRE_CONTEXTS": str(broken)})  # fmt: skip

    assert done.stdout == "False\n"
