"""Finding an application by the name that an operator gave: `MODULE:APP`, or `FILE.py:APP`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any


def find(path: str) -> Any:
    """Import MODULE (or the file), which runs its code, and return its attribute APP.

    Raises ValueError with a sentence when there is no such thing; errors of the module itself pass through.
    """
    module_name, colon, attribute = path.partition(":")
    if not (module_name and colon and attribute):
        raise ValueError(f"{path!r} is not of the form MODULE:APP, for example shop.jobs:app.")
    module = _module_of_file(Path(module_name)) if module_name.endswith(".py") else _module(module_name)
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise ValueError(f"{module_name!r} has nothing called {attribute!r}. Name an App of that module.") from error


def path_of(thing: object, module_names: Iterable[str]) -> str | None:
    """The path under which another process finds this very thing, in one of these modules; None when there is none.

    A module that is run as the program is named as others would import it: by its name after `python -m`, or its file.
    """
    for name in dict.fromkeys([*module_names, "__main__"]):
        module = sys.modules.get(name)
        attributes = vars(module).items() if module is not None else ()
        for attribute, value in list(attributes):
            if value is thing and (importable := _importable(name, module)) is not None:
                return f"{importable}:{attribute}"
    return None


def _importable(name: str, module: ModuleType | None) -> str | None:
    if name != "__main__":
        return name
    spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None)
    if spec is not None:
        return str(spec.name)
    return str(Path(file).resolve()) if file is not None and file.endswith(".py") else None


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ValueError(
            f"There is no module {name!r} on the import path. Start where it can be imported, or set PYTHONPATH."
        ) from error


def _module_of_file(file: Path) -> ModuleType:
    """Import a file as `python FILE` would find it: its own folder is on the import path."""
    if not file.is_file():
        raise ValueError(f"There is no file {str(file)!r}. Name an existing one, or MODULE:APP.")
    loaded = sys.modules.get(file.stem)
    if loaded is not None and Path(getattr(loaded, "__file__", None) or "").resolve() == file.resolve():
        return loaded
    spec = importlib.util.spec_from_file_location(file.stem, file.resolve())
    if spec is None or spec.loader is None:
        raise ValueError(f"{str(file)!r} is not a Python file.")
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module
