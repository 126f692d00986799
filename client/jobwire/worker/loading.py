"""Finding an application by the name that an operator gave: `MODULE:APP`."""

from __future__ import annotations

import importlib
from typing import Any


def find(path: str) -> Any:
    """Import MODULE, which runs its code, and return its attribute APP.

    Raises ValueError with a sentence when there is no such thing; errors of the module itself pass through.
    """
    module_name, colon, attribute = path.partition(":")
    if not (module_name and colon and attribute):
        raise ValueError(f"{path!r} is not of the form MODULE:APP, for example shop.jobs:app.")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ValueError(
            f"There is no module {module_name!r} on the import path. Start where it can be imported, or set PYTHONPATH."
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise ValueError(f"{module_name!r} has nothing called {attribute!r}. Name an App of that module.") from error
