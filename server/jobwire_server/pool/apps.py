"""Finding the handlers that `--app MODULE:APP` names."""

from __future__ import annotations

import sys
from pathlib import Path

from jobwire.app import App, load_app


class AppUnusable(Exception):
    """`--app` names nothing that has handlers; the message says what was tried and why it failed."""


def find_app(location: str, *, directory: Path) -> App:
    """Import MODULE (also from `directory`, as `python -m` would) and return its attribute APP.

    Runs the module's code: the location comes from the operator, never from a request. Raises `AppUnusable`.
    """
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
    try:
        app = load_app(location)
    except ValueError as error:
        raise AppUnusable(f"--app {location}: {error}") from error
    except Exception as error:
        module = location.partition(":")[0]
        raise AppUnusable(
            f"--app {location}: importing {module} raised {type(error).__name__}: {error}. Repair the module."
        ) from error
    if not app.handlers:
        # A worker without types would be one for all types.
        raise AppUnusable(f"--app {location}: the app has no handlers. Register one with @app.job, or leave out --app.")
    return app
