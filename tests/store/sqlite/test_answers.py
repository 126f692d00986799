"""An answer tells what its own transaction did, not what came after it."""

from __future__ import annotations

import apsw
import pytest

from jobwire_server.domain.job import DEFAULT_TENANT, State
from tests.helpers.stores import StoreRig

pytestmark = pytest.mark.asyncio


async def test_cancel_and_retry_answer_with_the_job_as_they_left_it(file_rig: StoreRig) -> None:
    job_id = await file_rig.add()
    path = str(file_rig.path)

    def go_on_before_the_answer(name: str) -> None:
        if name == "group.after_commit":
            connection = apsw.Connection(path)
            connection.execute("UPDATE job SET progress_message = 'somebody else was here'")
            connection.close()

    file_rig.failpoint = go_on_before_the_answer
    await file_rig.reopen()

    cancelled = await file_rig.store.cancel(DEFAULT_TENANT, job_id)
    retried = await file_rig.store.retry(DEFAULT_TENANT, job_id)

    assert (cancelled.status.state, cancelled.status.progress_message) == (State.CANCELLED, "")
    assert (retried.status.state, retried.status.progress_message) == (State.PENDING, "")
