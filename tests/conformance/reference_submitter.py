"""Submits a job and watches it to its end, on the generated stubs alone, as docs/conformance.md says.

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


def submit(jobs: JobServiceStub, kind: str, payload: str) -> job_pb2.Job:
    """The same request_id each time: however often it is sent, there is one job."""
    spec = job_pb2.JobSpec(
        queue=os.environ["JOBWIRE_QUEUE"],
        type=kind,
        payload=job_pb2.Payload(content_type="application/json", text=payload),
    )
    request = job_service_pb2.SubmitJobRequest(spec=spec, request_id=str(uuid.uuid4()))
    return persistently(lambda: jobs.SubmitJob(request, timeout=10)).job


def watch(jobs: JobServiceStub, job_id: str) -> job_pb2.JobStatus:
    """The last status of a job."""
    request = job_service_pb2.WatchJobRequest(job_id=job_id, view=job_pb2.JOB_VIEW_FULL)

    def to_the_end() -> job_pb2.JobStatus:
        for update in jobs.WatchJob(request):
            request.after_revision = update.status.revision
            if update.status.state in EXIT_CODES:
                return update.status
        raise AssertionError("the watch ended before the job")

    return persistently(to_the_end)


def main(kind: str, payload: str) -> int:
    """Submit, watch, print."""
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
    with grpc.insecure_channel(os.environ["JOBWIRE_ADDRESS"], options) as channel:
        jobs = JobServiceStub(channel)
        status = watch(jobs, submit(jobs, kind, payload).job_id)
    if status.state == job_pb2.JOB_STATE_COMPLETED:
        print(status.result.text)
    return EXIT_CODES[status.state]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
