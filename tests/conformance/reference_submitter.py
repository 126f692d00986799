"""Submits a job and watches it to its end, on the generated stubs alone, as docs/reference/conformance.md says.

python -m tests.conformance.reference_submitter TYPE PAYLOAD
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Callable
from typing import TypeVar

import grpc

from jobwire.v1 import job_pb2, job_service_pb2
from jobwire.v1.job_service_pb2_grpc import JobServiceStub

T = TypeVar("T")

EXIT_CODES = {
    job_pb2.JOB_STATE_COMPLETED: 0,
    job_pb2.JOB_STATE_FAILED: 3,
    job_pb2.JOB_STATE_CANCELLED: 4,
    job_pb2.JOB_STATE_EXPIRED: 4,
}


def persistently(call: Callable[[], T]) -> T:
    """Call until the server answers."""
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:  # type: ignore[attr-defined]
                raise
            time.sleep(0.1)


class Submitter:
    """Submits one job, and watches it."""

    def __init__(self, jobs: JobServiceStub) -> None:
        self.jobs = jobs

    def run(self, kind: str, payload: str) -> int:
        """Submit, watch, print; the exit code."""
        status = self.watch(self.submit(kind, payload))
        if status.state == job_pb2.JOB_STATE_COMPLETED:
            print(status.result.text)
        return EXIT_CODES[status.state]

    def submit(self, kind: str, payload: str) -> str:
        """The same request_id each time: however often it is sent, there is one job."""
        spec = job_pb2.JobSpec(
            queue=os.environ["JOBWIRE_QUEUE"],
            type=kind,
            payload=job_pb2.Payload(content_type="application/json", text=payload),
        )
        request = job_service_pb2.SubmitJobRequest(spec=spec, request_id=self.new_id())
        return persistently(lambda: self.jobs.SubmitJob(self.about_to_send(request), timeout=10)).job.job_id

    def new_id(self) -> str:
        return str(uuid.uuid4())

    def about_to_send(self, request: job_service_pb2.SubmitJobRequest) -> job_service_pb2.SubmitJobRequest:
        return request

    def watch(self, job_id: str) -> job_pb2.JobStatus:
        """The last status of a job."""
        request = job_service_pb2.WatchJobRequest(job_id=job_id, view=job_pb2.JOB_VIEW_FULL)
        return persistently(lambda: self.watch_to_the_end(request))

    def watch_to_the_end(self, request: job_service_pb2.WatchJobRequest) -> job_pb2.JobStatus:
        for update in self.jobs.WatchJob(request):
            request.after_revision = update.status.revision
            if self.is_over(update.status.state):
                return update.status
        raise AssertionError("the watch ended before the job")

    def is_over(self, state: int) -> bool:
        return state in EXIT_CODES


def main(submitter: type[Submitter], kind: str, payload: str) -> int:
    """Run a submitter against the server of the environment."""
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
    with grpc.insecure_channel(os.environ["JOBWIRE_ADDRESS"], options) as channel:
        return submitter(JobServiceStub(channel)).run(kind, payload)


if __name__ == "__main__":
    sys.exit(main(Submitter, *sys.argv[1:]))
