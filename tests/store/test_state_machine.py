"""Random lives of a store beside a small model of it: every step compares everything that can be seen."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.helpers.postgres import PostgresServer
from tests.helpers.postgres_rig import PostgresRig
from tests.helpers.stores import StoreRig
from tests.store.lives.asking import Asking
from tests.store.lives.working import Working


class StoreMachine(Working, Asking):
    """All that can happen to a store, on a file."""


class PostgresMachine(StoreMachine):
    """The same lives on PostgreSQL."""

    server: ClassVar[PostgresServer]

    def new_rig(self, **settings: Any) -> StoreRig:
        """See `StoreMachine.new_rig`."""
        return PostgresRig(self.server, **settings)

    def remove_rig(self) -> None:
        """See `StoreMachine.remove_rig`."""
        assert isinstance(self.rig, PostgresRig)
        self.rig.dispose()


@pytest.fixture(scope="class")
def postgres_for_machine(postgres: PostgresServer) -> None:
    """Lets the machine know the server."""
    PostgresMachine.server = postgres


def _lives(examples: int) -> settings:
    return settings(
        max_examples=examples * int(os.environ.get("SCALE") or 1),
        stateful_step_count=60,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


# A failure takes its time to shrink.
TestStoreMachine = pytest.mark.timeout(300)(StoreMachine.TestCase)
TestStoreMachine.settings = _lives(40)
TestPostgresMachine = pytest.mark.timeout(300)(
    pytest.mark.usefixtures("postgres_for_machine")(PostgresMachine.TestCase)
)
TestPostgresMachine.settings = _lives(20)
