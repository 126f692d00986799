"""Settings: declared once, read in one order, refused with a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobwire_server.config import (
    SETTINGS,
    Command,
    Config,
    ConfigInvalid,
    Effective,
    PostgresUrl,
    check_listen,
    find_database,
    load,
    resolve,
)
from jobwire_server.config.report import example, in_force
from jobwire_server.config.values import parse_duration

SERVE = {"db": "jobs.db"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def serve(environment: dict[str, str] | None = None, config: Path | None = None, **flags: Any) -> Config:
    return load(Command.SERVE, {**SERVE, **flags}, environment or {}, config)


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text("slots = 3\ngrace = '5s'\nlease = '1m'\n")
    environment = {"JOBWIRE_SLOTS": "4", "JOBWIRE_GRACE": "6s"}

    config = serve(environment, file, slots="5")

    assert (config.slots, config.grace, config.lease, config.cancel_grace) == (5, 6.0, 60.0, 10.0)


def test_the_file_beside_the_process_is_read_without_being_named(tmp_path: Path) -> None:
    (tmp_path / "jobwire.toml").write_text("slots = 7\n")

    assert serve().slots == 7


def test_the_environment_may_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("slots = 8\n")

    assert serve({"JOBWIRE_CONFIG": str(tmp_path / "other.toml")}).slots == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slotz = 3", "unknown key 'slotz'. Did you mean 'slots'"),
        ("slots = 0", "slots in .* is too small; the least is 1"),
        ("slots = 'many'", "'many' is not a whole number"),
        ("slots = true", "True is not a whole number"),
        ("grace = 5", "5 is not a text"),
        ("grace = '5 minutes'", "not a duration: write 250ms, 90s"),
        ("log_level = 'loud'", "'loud' is not one of debug, info, warning, error"),
        ("insecure_no_auth = 'maybe'", "neither true nor false"),
        ("slots = ", "is not TOML"),
    ],
)
def test_a_wrong_line_in_the_file_is_refused_with_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "jobwire.toml"
    file.write_text(text)

    with pytest.raises(ConfigInvalid, match=message):
        serve()


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"Cannot read the configuration file .*nowhere\.toml"):
        serve(config=tmp_path / "nowhere.toml")


def test_a_variable_that_was_misspelled_is_refused_and_a_stranger_is_not() -> None:
    with pytest.raises(ConfigInvalid, match=r"JOBWIRE_SLOT\. Did you mean JOBWIRE_SLOTS"):
        serve({"JOBWIRE_SLOT": "4"})

    assert serve({"JOBWIRE_ADDRESS": "10.0.0.1:1", "JOBWIRE_TOKEN": "x", "HOME": "/"}).slots == 16


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:0", "localhost:7780", "[::1]:7780", "127.1.2.3:80", "unix:/tmp/x.sock", "unix:x"]
)
def test_loopback_and_sockets_need_no_permission(listen: str) -> None:
    check_listen(listen, secure=False, allowed=False)


@pytest.mark.parametrize("listen", ["0.0.0.0:7780", "[::]:7780", "10.1.2.3:1", "example.org:80"])
def test_other_addresses_are_refused_without_tls_or_a_word(listen: str) -> None:
    with pytest.raises(ConfigInvalid, match="--insecure-no-auth"):
        check_listen(listen, secure=False, allowed=False)
    check_listen(listen, secure=True, allowed=False)
    check_listen(listen, secure=False, allowed=True)


@pytest.mark.parametrize("listen", ["", "7780", ":7780", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:65536", "unix:"])
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(ConfigInvalid, match="Write"):
        check_listen(listen, secure=True, allowed=True)


def test_serve_needs_a_database_and_dev_has_one() -> None:
    with pytest.raises(ConfigInvalid, match="--db PATH"):
        load(Command.SERVE, {}, {}, None)
    assert load(Command.DEV, {}, {}, None).db == Path(".jobwire/dev.db")
    assert load(Command.DEV, {"memory": True}, {}, None).db is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"db": "mysql://host/db"}, "no store for 'mysql'"),
        ({"tls_cert": "a.pem"}, "both --tls-cert and --tls-key"),
        ({"tls_client_ca": "a.pem"}, "both --tls-cert and --tls-key"),
        ({"tls_cert": "a.pem", "tls_key": "b.pem"}, "TLS file a.pem does not exist"),
    ],
)
def test_settings_that_cannot_work_are_refused(flags: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        serve(**flags)


def test_a_database_is_shown_without_its_password() -> None:
    db = serve(db="postgresql://ada:secret@db.internal/jobs?password=secret&sslmode=require").db

    assert isinstance(db, PostgresUrl)
    assert str(db) == "postgresql://ada:***@db.internal/jobs?password=***&sslmode=require"


def test_two_settings_for_one_thing_are_refused() -> None:
    with pytest.raises(ConfigInvalid, match="--memory and --db"):
        load(Command.DEV, {"memory": True, "db": "x.db"}, {}, None)
    with pytest.raises(ConfigInvalid, match="--port and --listen"):
        load(Command.DEV, {"port": "1", "listen": "127.0.0.1:1"}, {}, None)


def test_a_database_may_be_written_as_an_address() -> None:
    assert serve(db="sqlite:///data/jobs.db").db == Path("data/jobs.db")
    assert serve(db="sqlite:////data/jobs.db").db == Path("/data/jobs.db")


def test_dev_listens_on_a_port_of_loopback() -> None:
    assert load(Command.DEV, {"port": "0"}, {}, None).listen == "127.0.0.1:0"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90.0), ("5m", 300.0), ("1h30m", 5400.0), ("250ms", 0.25), ("7d", 604_800.0), ("0s", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


def test_every_setting_has_help_and_a_default_within_its_bounds() -> None:
    for setting in SETTINGS:
        assert setting.help.endswith(".")
        for command in setting.commands:
            default = setting.default_for(command)
            if setting.minimum is not None and default is not None:
                assert setting.minimum <= default <= (setting.maximum or default)


# --- what is in force ---------------------------------------------------------------------------------------------


def effective(
    environment: dict[str, str] | None = None, command: Command = Command.SERVE, **flags: Any
) -> list[Effective]:
    given = {**SERVE, **flags} if command is Command.SERVE else flags
    return list(resolve(command, given, environment or {}, None))


def test_every_value_names_its_place(tmp_path: Path) -> None:
    (tmp_path / "jobwire.toml").write_text("# mine\n\ngrace = '5s'\n'lease' = '1m'\n")

    places = {each.setting.name: each.place for each in effective({"JOBWIRE_SLOTS": "4"})}

    assert places["db"] == "--db"
    assert places["slots"] == "JOBWIRE_SLOTS"
    assert places["grace"] == "jobwire.toml:3"
    assert places["lease"] == "jobwire.toml:4"
    assert places["cancel_grace"] == "default"


def test_an_error_in_a_file_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "jobwire.toml").write_text("grace = '5s'\nslots = 0\n")

    with pytest.raises(ConfigInvalid, match=r"slots in jobwire\.toml:2: 0 is too small"):
        serve()


def test_an_unknown_key_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "jobwire.toml").write_text("grace = '5s'\n\n[store]\nurl = 'x'\n")

    with pytest.raises(ConfigInvalid, match=r"jobwire\.toml:3 has an unknown key 'store'"):
        serve()


CONFIGURATIONS: dict[str, tuple[Command, dict[str, Any]]] = {
    "serve": (Command.SERVE, {"db": "some/jobs.db", "slots": "3", "grace": "1500ms", "app": "jobs:app"}),
    "odd texts": (Command.SERVE, {"db": 'a "quoted" \\ path.db', "lease": "90s"}),
    "dev": (Command.DEV, {}),
    "dev on a port": (Command.DEV, {"port": "0"}),
    "dev in memory": (Command.DEV, {"memory": True, "memory_per_child": "512M"}),
}


@pytest.mark.parametrize(("command", "flags"), CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
def test_what_is_in_force_is_a_file_that_says_the_same(command: Command, flags: dict[str, Any], tmp_path: Path) -> None:
    settings = resolve(command, flags, {}, None)
    file = tmp_path / "same.toml"

    file.write_text(in_force(command, settings))

    assert load(command, {}, {}, file) == load(command, flags, {}, None)


def test_a_password_in_an_address_is_not_shown_and_not_read_as_one_where_there_is_none() -> None:
    address = "postgresql://me:hunter2@host/db?password=hunter2&sslmode=require"

    shown = in_force(Command.SERVE, effective(db=address))

    assert "hunter2" not in shown
    assert 'db = "postgresql://me:***@host/db?password=***&sslmode=require"' in shown
    assert "hunter" not in str(serve(db=address).db)
    assert "hunter" not in in_force(Command.SERVE, effective(db="postgresql://me:hunt/er@2@host/db"))
    assert 'db = "sqlite:///data/jobs.db"' in in_force(Command.SERVE, effective(db="sqlite:///data/jobs.db"))


def test_a_secret_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-a-file.db\n")
    environment = {"JOBWIRE_DB_FILE": str(tmp_path / "secret")}

    assert load(Command.SERVE, {}, environment, None).db == Path("from-a-file.db")
    assert find_database(None, environment, None) == Path("from-a-file.db")
    with pytest.raises(ConfigInvalid, match="JOBWIRE_DB and JOBWIRE_DB_FILE are both set"):
        load(Command.SERVE, {}, {**environment, "JOBWIRE_DB": "x.db"}, None)
    with pytest.raises(ConfigInvalid, match="JOBWIRE_DB_FILE names nowhere, which cannot be read"):
        load(Command.SERVE, {}, {"JOBWIRE_DB_FILE": "nowhere"}, None)
    with pytest.raises(ConfigInvalid, match="Did you mean JOBWIRE_DB_FILE"):
        serve({"JOBWIRE_DBFILE": "x"})


def test_the_store_of_a_command_is_the_one_that_a_server_would_open(tmp_path: Path) -> None:
    assert find_database(None, {}, None) == Path(".jobwire/dev.db")
    (tmp_path / "jobwire.toml").write_text("db = 'file.db'\n")
    assert find_database(None, {}, None) == Path("file.db")
    assert find_database(None, {"JOBWIRE_DB": "variable.db"}, None) == Path("variable.db")
    assert find_database("flag.db", {"JOBWIRE_DB": "variable.db"}, None) == Path("flag.db")


def test_the_example_holds_every_setting_and_is_a_file_that_can_be_used_line_by_line(tmp_path: Path) -> None:
    text = example()
    for setting in SETTINGS:
        (line,) = [line for line in text.splitlines() if line.startswith(f"# {setting.name} = ")]
        file = tmp_path / "jobwire.toml"
        file.write_text(line.removeprefix("# "))
        (found,) = [each for each in resolve(next(iter(setting.commands)), {}, {}, file) if each.setting is setting]
        assert found.place == f"{file}:1"
        default = setting.default if setting.default is not None else setting.dev_default
        assert default is None or found.value == default
        assert setting.help in text
