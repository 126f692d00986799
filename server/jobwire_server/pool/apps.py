"""Finding the handlers that `--app MODULE:APP` names."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from jobwire.app import App


class AppNotFound(Exception):
    """`MODULE:APP` names nothing that has handlers; the message says what was tried."""


def load_app(location: str, *, directory: Path) -> App:
    """Import MODULE (also from `directory`, as `python -m` would) and return its attribute APP.

    Runs the module's code: the location comes from the operator, never from a request. Raises `AppNotFound`.
    """
    module_name, separator, attribute = location.partition(":")
    if not separator or not module_name or not attribute:
        raise AppNotFound(f"--app {location!r} is not MODULE:APP, as in jobs:app.")
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise AppNotFound(f"--app {location}: importing {module_name} failed: {error}.") from error
        raise AppNotFound(
            f"--app {location}: there is no module {module_name!r} in {directory} or on the Python path. "
            "Start in the folder that holds it, or set PYTHONPATH."
        ) from error
    except Exception as error:
        raise AppNotFound(
            f"--app {location}: importing {module_name} failed: {type(error).__name__}: {error}."
        ) from error
    app = getattr(module, attribute, None)
    if not isinstance(app, App):
        found = "nothing" if app is None else f"a {type(app).__name__}"
        raise AppNotFound(f"--app {location}: {module_name} has {found} named {attribute!r}; a jobwire App is needed.")
    return app
