"""Whatever happens in the writer thread, its callers are answered: nobody waits for ever."""

from __future__ import annotations

import pytest

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.domain.job import State
from jobwire_server.kernel.failpoint import InjectedFault
from jobwire_server.store.base import Store
from tests.helpers.factories import new_job
from tests.helpers.stores import StoreRig

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("place", ["group.after_commit", "submit.before_reply"])
async def test_a_fault_between_commit_and_answer_is_an_unknown_outcome_and_the_next_call_is_served(
    file_rig: StoreRig, place: str
) -> None:
    faults = [place]

    def fail_once(name: str) -> None:
        if name in faults:
            faults.remove(name)
            raise InjectedFault(name)

    file_rig.failpoint = fail_once
    await file_rig.reopen()

    with pytest.raises(StoreUnavailable):
        await file_rig.submit(new_job(job_id="first", id_chosen=True))
    await file_rig.submit(new_job(job_id="second", id_chosen=True))

    assert [await file_rig.state("first"), await file_rig.state("second")] == [State.PENDING, State.PENDING]


async def test_a_log_that_vanished_under_the_server_stops_it_and_hangs_nobody(file_rig: StoreRig) -> None:
    deaths: list[BaseException] = []
    await file_rig.close()
    store = file_rig.subject()
    store.on_fatal(deaths.append)
    await store.open()
    file_rig.tampered = True
    assert file_rig.path is not None
    file_rig.path.with_name(f"{file_rig.path.name}-wal").unlink()

    with pytest.raises(StoreUnavailable):
        await _ask_often(store)

    assert len(deaths) == 1
    await store.close()


async def _ask_often(store: Store) -> None:
    for _ in range(1_000):
        await store.secret("anything")
