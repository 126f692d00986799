"""`jobwire health`: the probe of a container, without curl or grpc_health_probe."""

from __future__ import annotations

import click

from jobwire.cli.faults import as_clause
from jobwire.cli.flags import command
from jobwire.cli.invocation import Invocation
from jobwire.cli.output import Printer
from jobwire.cli.server import Server
from jobwire.errors import JobwireError

_UP = frozenset({"SERVING", "NOT_SERVING"})


@command("health", epilog="Example: jobwire --timeout 2s health")
@click.option("--live", is_flag=True, help="Liveness: it is enough that the server answers, ready or not.")
def health(invocation: Invocation, live: bool) -> int:
    """Say in one line, and by exit code 0 or 1, whether the server is ready for calls; with --live, whether it lives.

    Ready is what grpc.health.v1 calls SERVING: a server that starts or drains is alive and not ready. For probes of
    containers; give it a --timeout that is shorter than the probe's own. -o json prints {"healthy": ..., "status": ...,
    "error": text or null}.
    """
    status, problem = "", None
    try:
        with Server(invocation) as server:
            status = server.health()
    except JobwireError as error:
        problem = as_clause(error.message)
    is_healthy = status == "SERVING" or (live and status in _UP)
    status = status or "UNKNOWN"
    Printer(invocation).document(
        lambda: {"healthy": is_healthy, "status": status, "error": problem},
        identifier=status,
        text=lambda: f"{'healthy' if is_healthy else 'not healthy'}: {problem or status}",
    )
    return 0 if is_healthy else 1
