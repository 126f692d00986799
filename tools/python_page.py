"""docs/reference/python.md: every public name of the Python package, with its docstring, which is its contract."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from tools.markdown import generated_from

_INTRODUCTION: Final = """\
# The Python package

`from jobwire import NAME` for every name of this page that has no module before it. Names are loaded when they are
first used; nothing but gRPC and protobuf is imported by all of them together.

The docstrings are the contract: what is promised, in which unit, and what is raised. How to use it:
[submit many](../how-to/submit-many.md), [workers](../how-to/workers.md). Reasons of errors:
[errors](errors.md)."""

PACKAGES: Final = ("jobwire", "jobwire.testing", "jobwire.outbox", "jobwire.integrations.fastapi")
"""Modules whose `__all__` is public, in the order of the page."""

_TITLES: Final = {
    "jobwire.client": "Clients",
    "jobwire.aio": "Clients",
    "jobwire.handle": "Handles",
    "jobwire._requests": "Submitting and watching",
    "jobwire._operations": "Submitting and watching",
    "jobwire.app": "Handlers",
    "jobwire.worker.context": "Handlers",
    "jobwire.worker.handler": "Handlers",
    "jobwire.worker.steering": "Handlers",
    "jobwire.models": "Values",
    "jobwire.payload": "Payloads",
    "jobwire.codecs": "Payloads",
    "jobwire.errors": "Errors",
}
"""Sections by the module that defines a name, in the order of the page."""
_OTHERS: Final = "More"
_LONGEST_LINE: Final = 110

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class _Name(NamedTuple):
    """A public name, and where it is defined."""

    shown: str
    section: str
    module: str
    name: str


def public_names() -> list[_Name]:
    """Every public name, section by section, in the order of the page."""
    packages = [f"`{package}`" for package in PACKAGES[1:]]
    sections, modules = [*dict.fromkeys(_TITLES.values()), _OTHERS, *packages], list(_TITLES)

    def place(name: _Name) -> tuple[int, int]:
        return _place(sections, name.section), _place(modules, name.module)

    names = [_located(package, name) for package in PACKAGES for name in importlib.import_module(package).__all__]
    return sorted(names, key=place)


def render() -> str:
    """Return the page."""
    blocks = [generated_from("the docstrings of `client/jobwire/`"), _INTRODUCTION]
    section = ""
    for name in public_names():
        if name.section != section:
            section = name.section
            blocks.append(f"## {section}")
        blocks += [f"### {name.shown}", *_described(name)]
    return "\n\n".join(blocks) + "\n"


def _place(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _located(package: str, name: str) -> _Name:
    value = getattr(importlib.import_module(package), name)
    has_home = inspect.isclass(value) or inspect.isroutine(value)
    module = value.__module__ if has_home else package
    prefix = "" if package == "jobwire" else f"{package}."
    section = _TITLES.get(module, _OTHERS) if package == "jobwire" else f"`{package}`"
    return _Name(f"{prefix}{name}", section, module, value.__name__ if has_home else name)


def _described(name: _Name) -> Iterator[str]:
    definition = _definitions(name.module).get(name.name)
    if isinstance(definition, ast.ClassDef):
        yield from _class(definition, name)
    elif definition is not None:
        yield _code(_signatures(name.module, name.name))
        yield _text(definition)
    else:
        yield _alias(name)


def _alias(name: _Name) -> str:
    """The text below an assignment; the name of a type that is spelled out where it is made."""
    body = ast.parse(inspect.getsource(importlib.import_module(name.module))).body
    texts = (
        _string(after)
        for made, after in pairwise(body)
        if isinstance(made, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name.name for t in made.targets)
    )
    return next(texts, "")


def _class(definition: ast.ClassDef, name: _Name) -> Iterator[str]:
    bases = ", ".join(ast.unparse(base) for base in definition.bases)
    yield _code([f"class {name.name}({bases})" if bases else f"class {name.name}"])
    if text := _text(definition):
        yield text
    members = dict(_members(name.module, definition))
    fields = [_field(body, text) for body, text in members.values() if isinstance(body, ast.AnnAssign | ast.Assign)]
    if fields:
        yield "\n".join(fields)
    for member, (body, text) in members.items():
        if isinstance(body, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _method(definition, name, member, body, text)


def _method(
    definition: ast.ClassDef, name: _Name, member: str, body: ast.FunctionDef | ast.AsyncFunctionDef, text: str
) -> Iterator[str]:
    if member == "__init__":
        if len(body.args.args) + len(body.args.kwonlyargs) > 1:
            yield from filter(None, [_code(_calls(body, name.name)), text])
        return
    yield f"#### {name.shown}.{member}"
    if _decorated(body, "property"):
        returns = ast.unparse(body.returns) if body.returns is not None else "Any"
        yield _code([f"{member}: {returns}"])
    else:
        yield _code(_overloads(definition, body) or _calls(body, member))
    if text:
        yield text


def _members(module: str, definition: ast.ClassDef) -> Iterator[tuple[str, tuple[ast.stmt, str]]]:
    """Public members with their docstrings, those of base classes of this package first."""
    for base in definition.bases:
        found = _base(module, base)
        if found is not None:
            yield from _members(*found)
    for place, body in enumerate(definition.body):
        following = definition.body[place + 1] if place + 1 < len(definition.body) else None
        match body:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                if _is_public(body.name) and not _decorated(body, "overload") and not _is_setter(body):
                    yield body.name, (body, _text(body))
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                if _is_public(name):
                    yield name, (body, _string(following))


def _base(module: str, base: ast.expr) -> tuple[str, ast.ClassDef] | None:
    """A base class of this package that is not public itself: what it has belongs to its heirs."""
    if isinstance(base, ast.Subscript):
        base = base.value
    if not isinstance(base, ast.Name) or not base.id.startswith("_"):
        return None
    value = getattr(importlib.import_module(module), base.id, None)
    home = getattr(value, "__module__", "")
    found = _definitions(home).get(base.id) if home.startswith("jobwire") else None
    return (home, found) if isinstance(found, ast.ClassDef) else None


@lru_cache
def _definitions(module: str) -> dict[str, Definition]:
    """Classes and functions of a module by name; of overloads the one with the body."""
    source = Path(inspect.getfile(importlib.import_module(module))).read_text(encoding="utf-8")
    return {
        body.name: body
        for body in ast.parse(source).body
        if isinstance(body, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }


def _signatures(module: str, name: str) -> list[str]:
    body = _definitions(module)[name]
    assert isinstance(body, ast.FunctionDef | ast.AsyncFunctionDef)
    return _calls(body, name)


def _overloads(definition: ast.ClassDef, body: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    return [
        line
        for other in definition.body
        if isinstance(other, ast.FunctionDef | ast.AsyncFunctionDef)
        and other.name == body.name
        and _decorated(other, "overload")
        for line in _calls(other, body.name)
    ]


def _calls(body: ast.FunctionDef | ast.AsyncFunctionDef, shown: str) -> list[str]:
    """The signature, without self; in several lines where it is long."""
    prefix = "async " if isinstance(body, ast.AsyncFunctionDef) else ""
    returns = "" if body.returns is None or body.name == "__init__" else f" -> {ast.unparse(body.returns)}"
    arguments = list(_arguments(body.args))
    line = f"{prefix}{shown}({', '.join(arguments)}){returns}"
    if len(line) <= _LONGEST_LINE:
        return [line]
    return [f"{prefix}{shown}(", *(f"    {argument}," for argument in arguments), f"){returns}"]


def _arguments(arguments: ast.arguments) -> Iterator[str]:
    """Each argument as it is written, with the marks between their kinds."""
    by_place = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(by_place) - len(arguments.defaults)) + list(arguments.defaults)
    for place, (argument, default) in enumerate(zip(by_place, defaults, strict=True)):
        if place > 0 or argument.arg not in ("self", "cls"):
            yield _argument(argument, default)
        if place + 1 == len(arguments.posonlyargs) and by_place[0].arg != argument.arg:
            yield "/"
    if arguments.vararg is not None:
        yield f"*{_argument(arguments.vararg, None)}"
    elif arguments.kwonlyargs:
        yield "*"
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _argument(argument, default)
    if arguments.kwarg is not None:
        yield f"**{_argument(arguments.kwarg, None)}"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    kind = "" if argument.annotation is None else f": {ast.unparse(argument.annotation)}"
    if default is None:
        return f"{argument.arg}{kind}"
    return f"{argument.arg}{kind}{' = ' if kind else '='}{ast.unparse(default)}"


def _field(body: ast.stmt, text: str) -> str:
    if isinstance(body, ast.AnnAssign):
        kind = f"`{ast.unparse(body.target)}: {ast.unparse(body.annotation)}`"
    else:
        assert isinstance(body, ast.Assign)
        kind = f"`{ast.unparse(body.targets[0])}`"
    return f"- {kind}" + (f": {' '.join(text.split())}" if text else "")


def _is_public(name: str) -> bool:
    return not name.startswith("_") or name == "__init__"


def _is_setter(body: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(isinstance(decorator, ast.Attribute) for decorator in body.decorator_list)


def _decorated(body: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> bool:
    return any(isinstance(decorator, ast.Name) and decorator.id == name for decorator in body.decorator_list)


def _text(definition: Definition) -> str:
    return inspect.cleandoc(ast.get_docstring(definition) or "")


def _string(statement: ast.stmt | None) -> str:
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return inspect.cleandoc(text)
    return ""


def _code(lines: Sequence[str] | Iterable[str]) -> str:
    return "\n".join(["```python", *lines, "```"])
