"""What the driver has to say goes to the server's log, with its format and level, and nowhere else."""

from __future__ import annotations

import apsw
import pytest

from jobwire_server.domain.job import RetryPolicy
from tests.helpers.stores import StoreRig

pytestmark = pytest.mark.asyncio


async def test_a_row_that_needs_somebody_is_named_in_the_log_that_the_store_was_given(
    file_rig: StoreRig, capfd: pytest.CaptureFixture[str]
) -> None:
    job_id = await file_rig.add(retry_policy=RetryPolicy())
    await file_rig.lease(1)
    await file_rig.close()
    connection = apsw.Connection(str(file_rig.path))
    connection.execute("UPDATE job SET retry = '[20'")
    connection.close()
    file_rig.tampered = True
    await file_rig.open()

    await file_rig.store.recover(instance_id="next", limit=10)

    [line] = [line for line in file_rig.logged() if line["event"] == "store.policy_unreadable"]
    assert (line["job_id"], line["level"]) == (job_id, "warning")
    assert capfd.readouterr() == ("", "")
