"""What `help()` says: every public name and method tells what it promises, and what it raises."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

import jobwire
from jobwire import errors

TALKERS = (jobwire.Client, jobwire.AsyncClient, jobwire.JobHandle, jobwire.AsyncJobHandle, jobwire.Submitter)
SILENT = {
    "from_settings", "settings", "job", "close", "id", "state", "created", "returning", "options",
}  # fmt: skip
"""Methods that ask no server and refuse nothing."""
_REFERENCE = re.compile(r"See `([\w.]+)`|Do as `(\w+)`")


def public_members(cls: type) -> Iterator[tuple[str, Any]]:
    """Methods and properties that the class, or a base of ours, defines."""
    for name in dir(cls):
        member = inspect.getattr_static(cls, name)
        of_ours = any(name in base.__dict__ and base.__module__.startswith("jobwire") for base in cls.__mro__)
        if not name.startswith("_") and of_ours and (inspect.isroutine(member) or isinstance(member, property)):
            yield name, getattr(member, "__func__", member)


MEMBERS = [
    pytest.param(member, id=f"{exported}.{name}")
    for exported in jobwire.__all__
    if inspect.isclass(cls := getattr(jobwire, exported)) and not issubclass(cls, BaseException)
    for name, member in public_members(cls)
]


@pytest.mark.parametrize("name", jobwire.__all__)
def test_every_public_name_says_what_it_is(name: str) -> None:
    doc = (getattr(jobwire, name).__doc__ or "").strip()

    assert doc
    assert not doc.startswith(f"{name}("), "that is what Python makes of a class without words"
    assert doc.splitlines()[0].rstrip().endswith((".", ":"))


@pytest.mark.parametrize("member", MEMBERS)
def test_every_public_method_says_what_it_does_in_a_sentence(member: Any) -> None:
    doc = inspect.getdoc(member) or ""

    assert doc
    assert doc.split("\n\n")[0].rstrip().endswith((".", ":"))


def told(cls: type, name: str) -> str:
    """The docstring of a method, with that of the one it refers to."""
    doc = inspect.getdoc(getattr(cls, name)) or ""
    for reference in _REFERENCE.finditer(doc):
        home, _, other = (reference[1] or reference[2]).rpartition(".")
        doc += told(getattr(jobwire, home) if home else cls, other)
    return doc


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        pytest.param(cls, name, id=f"{cls.__name__}.{name}")
        for cls in TALKERS
        for name, _ in public_members(cls)
        if name not in SILENT
    ],
)
def test_every_method_that_may_be_refused_says_by_what(cls: type, name: str) -> None:
    assert "Raises" in told(cls, name)


def test_errors_that_docstrings_speak_of_exist() -> None:
    known = {name for name, error in vars(errors).items() if inspect.isclass(error)} | {"TypeError", "ValueError"}
    known |= {"FilterInvalid", "JobwireError"}
    for cls in TALKERS:
        for name, member in public_members(cls):
            for sentence in re.findall(r"Raises ([^.]*)", inspect.getdoc(member) or ""):
                named = set(re.findall(r"\b[A-Z][a-z]+[A-Z]\w+\b", sentence))
                assert named <= known, f"{cls.__name__}.{name}"
