"""The server's commands without the client's: `python -m jobwire_server serve …`."""

from __future__ import annotations

import os
import sys

import click

from jobwire.cli.faults import CliError
from jobwire.cli.invocation import Invocation
from jobwire_server.cli.db import db
from jobwire_server.cli.serving import dev, serve


def main() -> int:
    """Run the process's own command line; return its exit code."""
    group = click.Group("jobwire_server", commands={"dev": dev, "serve": serve, "db": db}, help="The jobwire server.")
    invocation = Invocation(environ=os.environ, stdout=sys.stdout, stderr=sys.stderr)
    try:
        answer = group.main(prog_name="python -m jobwire_server", standalone_mode=False, obj=invocation)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except CliError as error:
        click.echo(error.as_text(), err=True)
        return error.exit_code
    return answer if isinstance(answer, int) else 0
