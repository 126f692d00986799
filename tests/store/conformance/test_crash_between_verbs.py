"""What a verb answered is there after a kill right behind it, and the next verb goes on from there."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from jobwire_server.domain.job import State
from jobwire_server.domain.outcome import Failed, Outcome, Released, Snoozed, Stopped, Succeeded
from jobwire_server.store.base import Lane, LeaseUpdate, Owner, Report, ReportCode, Transport
from tests.helpers.factories import new_job
from tests.helpers.stores import ERROR, REMOTE, RESULT, SECOND_US, US, StoreRig

pytestmark = pytest.mark.asyncio

RETURNING = Owner("worker-3", "incarnation-3", Transport.STREAM)

# Each verb finds work that `_prepare` laid out for it, whatever other verb ran before.
Verb = Callable[[StoreRig], Awaitable[object]]


def _lane(verb: str) -> Lane:
    return Lane("default", f"for-{verb}")


async def _prepare(rig: StoreRig) -> None:
    now_us = rig.clock.wall_us()
    for verb in ("lease", "succeed", "chain", "fail", "release", "snooze", "stop", "extend", "save", "ask", "lose"):
        await rig.add(type=_lane(verb).type, job_id=verb)
    for verb in ("succeed", "chain", "fail", "release", "snooze", "stop", "extend", "save", "ask"):
        await rig.lease_one(lanes=[_lane(verb)], owner=REMOTE, lease_s=600)
    await rig.lease_one(lanes=[_lane("lose")], owner=REMOTE, lease_s=1)
    await rig.add(type=_lane("reattach").type, job_id="reattach")
    await rig.lease_one(lanes=[_lane("reattach")], owner=RETURNING, lease_s=600)
    await rig.add(type=_lane("recover").type, job_id="recover")
    await rig.lease_one(lanes=[_lane("recover")], owner=US, lease_s=600)
    await rig.add(type="other", job_id="cancel")
    await rig.add(type="other", job_id="promote", schedule_time_us=now_us + SECOND_US)
    await rig.add(type="other", job_id="expire", expire_time_us=now_us + SECOND_US)
    for job_id in ("retry", "delete"):
        await rig.add(type="other", job_id=job_id)
        await rig.store.cancel("default", job_id)
    await rig.add(type="other", job_id="purge", retention_us=1)
    await rig.store.cancel("default", "purge")
    rig.clock.advance(1)


async def _report(rig: StoreRig, job_id: str, outcome: Outcome) -> None:
    job = await rig.job(job_id)
    [answer] = await rig.store.report([Report(job.key, job.fence, outcome)])
    assert answer.code is ReportCode.RECORDED


async def _extend(rig: StoreRig, job_id: str, **fields: Any) -> None:
    job = await rig.job(job_id)
    [state] = await rig.store.extend([LeaseUpdate(job.key, job.fence, 7 * SECOND_US, **fields)])
    assert state.valid


VERBS: dict[str, Verb] = {
    "submit": lambda rig: rig.submit(new_job(labels={"k": "v"}, request_id="k", fingerprint=b"f")),
    "submit batch": lambda rig: rig.submit(new_job(), new_job(), atomic=True, request_id="b", batch_id="b"),
    "lease": lambda rig: rig.lease_one(lanes=[_lane("lease")], owner=REMOTE, lease_s=600),
    "report success": lambda rig: _report(rig, "succeed", Succeeded(RESULT)),
    "report failure": lambda rig: _report(rig, "fail", Failed(ERROR)),
    "report release": lambda rig: _report(rig, "release", Released()),
    "report snooze": lambda rig: _report(rig, "snooze", Snoozed(5)),
    "report stop": lambda rig: _report(rig, "stop", Stopped("asked to", RESULT)),
    "report and follow up": lambda rig: _report(rig, "chain", Succeeded(RESULT, [new_job(), new_job()])),
    "extend": lambda rig: _extend(rig, "extend", progress_percent=5.0, progress_message="halfway"),
    "checkpoint": lambda rig: _extend(rig, "save", checkpoint=RESULT),
    "reattach": lambda rig: rig.store.reattach(RETURNING, []),
    "cancel": lambda rig: rig.store.cancel("default", "cancel"),
    "ask to cancel": lambda rig: rig.store.cancel("default", "ask"),
    "retry": lambda rig: rig.store.retry("default", "retry"),
    "delete": lambda rig: rig.store.delete("default", "delete"),
    "recover": lambda rig: rig.store.recover(instance_id="another", limit=100),
    "expire leases": lambda rig: rig.store.expire_leases(limit=100),
    "promote due": lambda rig: rig.store.promote_due(limit=100),
    "expire jobs": lambda rig: rig.store.expire_jobs(limit=100),
    "purge": lambda rig: rig.store.purge(limit=100),
    "secret": lambda rig: rig.store.secret("p"),
}


def _chains() -> list[list[str]]:
    """Orders of the verbs in which each stands right behind each other one exactly once (a Williams design)."""
    names = list(VERBS)
    count = len(names)
    assert count % 2 == 0
    first = [(step + 1) // 2 if step % 2 else -step // 2 for step in range(count)]
    return [[names[(number + shift) % count] for number in first] for shift in range(count)]


async def test_the_chains_hold_every_pair_of_verbs() -> None:
    pairs = [pair for chain in _chains() for pair in itertools.pairwise(chain)]
    assert len(pairs) == len(set(pairs)) == len(VERBS) * (len(VERBS) - 1)


# A start on PostgreSQL is a third of a second, and there are five hundred: that half is a campaign.
@pytest.mark.parametrize(
    "durable_rig", ["file", pytest.param("postgres", marks=pytest.mark.campaign)], indirect=True, scope="function"
)
@pytest.mark.parametrize("chain", _chains(), ids=lambda chain: chain[0])
async def test_a_crash_between_any_two_verbs_loses_nothing_and_stops_nothing(
    durable_rig: StoreRig, chain: list[str]
) -> None:
    rig = durable_rig
    await _prepare(rig)
    for place, verb in enumerate(chain):
        before = rig.dump()
        await VERBS[verb](rig)
        done = rig.dump()
        # A recovery ends expired leases too, and leaves none for the sweep.
        assert done != before or (verb == "expire leases" and "recover" in chain[:place])
        position = await rig.store.position()
        await rig.crash()
        assert rig.dump() == done
        assert await rig.store.position() == position


async def test_only_what_was_committed_survives(durable_rig: StoreRig) -> None:
    rig = durable_rig
    await rig.close()

    def fail(name: str) -> None:
        if name == "group.before_commit":
            raise RuntimeError(name)

    rig.failpoint = fail
    await rig.open()
    before = rig.dump()
    with pytest.raises(RuntimeError):
        await rig.submit(new_job())
    assert rig.dump() == before
    rig.failpoint = lambda name: None
    await rig.crash()
    assert (await rig.store.counts()).by_state == {}


async def test_a_store_can_be_read_in_full_after_every_restart(durable_rig: StoreRig) -> None:
    rig = durable_rig
    await _prepare(rig)
    ids = [row[0] for row in rig.sql("SELECT id FROM job ORDER BY key")]
    before = [await rig.job(job_id) for job_id in ids]
    events = await rig.events()
    for restart in (rig.crash, rig.reopen, rig.crash):
        await restart()
        assert [await rig.job(job_id) for job_id in ids] == before
        assert await rig.events() == events
    assert (await rig.store.counts()).by_state[State.PROCESSING] == 12
