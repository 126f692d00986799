"""Submitters that break one rule each. The tool must catch every one of them, by the point that is about that rule.

python -m tests.conformance.submitter_plants NAME TYPE PAYLOAD
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Mapping

from jobwire.v1 import job_pb2, job_service_pb2
from tests.conformance.reference_submitter import EXIT_CODES, Submitter, main


class TalksBesideTheResult(Submitter):
    def submit(self, kind: str, payload: str) -> str:
        print("submitting")
        return super().submit(kind, payload)


class ChangesThePayload(Submitter):
    def submit(self, kind: str, payload: str) -> str:
        return super().submit(kind, payload.encode("ascii", "replace").decode())


class SubmitsAnewEachTime(Submitter):
    def about_to_send(self, request: job_service_pb2.SubmitJobRequest) -> job_service_pb2.SubmitJobRequest:
        request.request_id = str(uuid.uuid4())
        return request


class WatchesOnce(Submitter):
    def watch(self, job_id: str) -> job_pb2.JobStatus:
        return self.watch_to_the_end(job_service_pb2.WatchJobRequest(job_id=job_id, view=job_pb2.JOB_VIEW_FULL))


class WaitsForTheNextChangeOnly(Submitter):
    """Each time it connects, it takes the first status for old news."""

    def watch_to_the_end(self, request: job_service_pb2.WatchJobRequest) -> job_pb2.JobStatus:
        request.ClearField("after_revision")
        updates = self.jobs.WatchJob(request)
        next(updates)
        for update in updates:
            if self.is_over(update.status.state):
                return update.status
        os._exit(1)


class IsAlwaysHappy(Submitter):
    def run(self, kind: str, payload: str) -> int:
        super().run(kind, payload)
        return 0


class TakesTheUnknownForTheEnd(Submitter):
    def is_over(self, state: int) -> bool:
        return super().is_over(state) or state not in {
            job_pb2.JOB_STATE_PENDING, job_pb2.JOB_STATE_PROCESSING, job_pb2.JOB_STATE_RETRYING,
        }  # fmt: skip

    def run(self, kind: str, payload: str) -> int:
        return EXIT_CODES.get(self.watch(self.submit(kind, payload)).state, 1)


PLANTS: Mapping[str, tuple[type[Submitter], ...]] = {
    "result": (TalksBesideTheResult, ChangesThePayload),
    "submit-once": (SubmitsAnewEachTime,),
    "watch-cut": (WatchesOnce,),
    "end-while-cut": (WaitsForTheNextChangeOnly,),
    "watch-over-kill": (WatchesOnce,),
    "failed": (IsAlwaysHappy,),
    "cancelled": (IsAlwaysHappy,),
    "unknown-state": (TakesTheUnknownForTheEnd,),
}
"""By the point that has to catch them."""

if __name__ == "__main__":
    (planted,) = {each for plants in PLANTS.values() for each in plants if each.__name__ == sys.argv[1]}
    sys.exit(main(planted, *sys.argv[2:]))
