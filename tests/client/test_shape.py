"""What the package looks like from outside: twins alike, imports few."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from typing import Any

import pytest

import jobwire
from jobwire.aio import AsyncClient
from jobwire.client import Client
from jobwire.handle import AsyncJobHandle, JobHandle
from jobwire.watching import AsyncWatch, Watch

TWINS = [(Client, AsyncClient), (JobHandle, AsyncJobHandle), (Watch, AsyncWatch)]
_RENAMED = {"__enter__": "__aenter__", "__exit__": "__aexit__", "__iter__": "__aiter__", "__next__": "__anext__"}
_WORDS = [(r"\bAsync(Iterator|JobHandle|Watch|Client|JobVerbs)", r"\1"), (r"\bAio", ""), (r"grpc\.aio\.", "grpc."),
          (r"open_aio_channel", "open_channel")]  # fmt: skip


def public(cls: type) -> set[str]:
    return {_RENAMED.get(name, name) for name in dir(cls) if not name.startswith("_") or name in _RENAMED}


def plain(text: str) -> str:
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    for pattern, word in _WORDS:
        text = re.sub(pattern, word, text)
    return text


def signature(member: Any) -> str:
    if isinstance(member, property):
        member = member.fget
    return plain(str(inspect.signature(member)))


@pytest.mark.parametrize(("sync", "aio"), TWINS)
def test_twins_have_the_same_names(sync: type, aio: type) -> None:
    names = {name for name in dir(aio) if not name.startswith("_") or name in _RENAMED.values()}

    assert public(sync) == names


@pytest.mark.parametrize(("sync", "aio"), TWINS)
def test_twins_have_the_same_signatures_and_words(sync: type, aio: type) -> None:
    for name in public(sync) - {"__aiter__", "__anext__", "__aenter__", "__aexit__"}:
        ours, theirs = inspect.getattr_static(sync, name), inspect.getattr_static(aio, name)
        if isinstance(ours, classmethod):
            ours, theirs = ours.__func__, theirs.__func__
        assert signature(ours) == signature(theirs), name
        assert inspect.getdoc(ours), name
        assert plain(inspect.getdoc(ours) or "") == plain(inspect.getdoc(theirs) or ""), name
    assert signature(sync.__init__) == signature(aio.__init__)  # type: ignore[misc]


def test_what_talks_to_the_server_is_async_in_the_async_twin_only() -> None:
    talks = {
        "submit",
        "submit_many",
        "get",
        "get_many",
        "server_info",
        "wait",
        "result",
        "cancel",
        "retry",
        "delete",
        "close",
    }
    yields = {"jobs", "handles", "submit_each", "workers", "map", "as_completed"}

    awaited = {name for name in public(AsyncClient) if inspect.iscoroutinefunction(getattr(AsyncClient, name))}
    assert awaited == talks
    assert all(inspect.isasyncgenfunction(getattr(AsyncClient, name)) for name in yields)


@pytest.mark.parametrize("name", ["submit", "run", "map"])
def test_both_manners_of_a_typed_job_take_the_same(name: str) -> None:
    sync, aio = getattr(jobwire.Submitter, name), getattr(jobwire.Submitter, f"a{name}")

    assert signature(sync) == signature(aio)
    assert inspect.iscoroutinefunction(aio) == (name != "map")


def run(code: str) -> Any:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    return json.loads(done.stdout)


_PRINT_FOREIGN = """
import json, sys
{statement}
tops = {{name.partition(".")[0] for name in sys.modules}} - set(sys.stdlib_module_names)
print(json.dumps(sorted(tops)))
"""


def test_a_client_imports_nothing_but_grpc_and_protobuf() -> None:
    before = run(_PRINT_FOREIGN.format(statement="import grpc, google.protobuf.message, google.rpc.status_pb2"))

    after = run(
        _PRINT_FOREIGN.format(statement="import jobwire; jobwire.Client; jobwire.AsyncClient; jobwire.JobFilter")
    )

    assert set(after) - set(before) == {"jobwire"}


def test_importing_the_package_alone_imports_not_even_grpc() -> None:
    assert "grpc" not in run(_PRINT_FOREIGN.format(statement="import jobwire"))


def test_every_name_of_the_package_exists_and_is_the_one_that_type_checkers_see() -> None:
    for name in jobwire.__all__:
        assert getattr(jobwire, name).__name__ == name
    assert set(jobwire.__all__) <= set(dir(jobwire))
    with pytest.raises(AttributeError, match="Klient"):
        jobwire.Klient  # noqa: B018


def test_the_names_for_type_checkers_are_the_names_there_are() -> None:
    source = inspect.getsource(jobwire)
    declared = set(re.findall(r"^    from jobwire\.(\w+) import (\w+) as \2$", source, re.MULTILINE))

    assert declared == {(jobwire._HOME_OF[name], name) for name in jobwire.__all__}
