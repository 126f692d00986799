"""An app with a handler that no payload fits, for the tests."""

from __future__ import annotations

from pathlib import Path

from jobwire.app import App

app = App("unfit")


@app.job("resize")
def resize(path: Path, width: int) -> None:
    """Take what no JSON can become."""
