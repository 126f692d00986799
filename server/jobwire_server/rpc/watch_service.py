"""The streams of jobwire.v1.JobService: decode, follow, encode."""

from __future__ import annotations

from contextlib import aclosing

from jobwire.v1 import job_service_pb2 as pb
from jobwire_server.domain.job import DEFAULT_TENANT
from jobwire_server.domain.limits import Limits
from jobwire_server.rpc.calls import Calls, Handler, Stream
from jobwire_server.rpc.convert.events import batch_responses, status_response
from jobwire_server.rpc.convert.reads import job_watch_of, jobs_watch_of
from jobwire_server.rpc.job_service import SERVICE
from jobwire_server.watch.hub import WatchHub


class WatchService:
    """WatchJob and WatchJobs. Until there is authentication, everybody is the one default tenant."""

    def __init__(self, hub: WatchHub, limits: Limits) -> None:
        self._hub = hub
        self._limits = limits
        self._tenant = DEFAULT_TENANT

    def handlers(self, calls: Calls) -> dict[str, Handler]:
        """Return the methods of the service that stream."""
        return {
            "WatchJob": calls.server_stream(f"{SERVICE}/WatchJob", self.watch_job),
            "WatchJobs": calls.server_stream(f"{SERVICE}/WatchJobs", self.watch_jobs),
        }

    async def watch_job(self, raw: bytes, stream: Stream) -> None:
        """Send the status of one job until it is terminal."""
        feed = self._hub.watch_job(job_watch_of(pb.WatchJobRequest.FromString(raw), self._tenant))
        stream.on_end(feed.end)
        async with aclosing(feed.updates()) as updates:
            async for update in updates:
                await stream.write(status_response(update))

    async def watch_jobs(self, raw: bytes, stream: Stream) -> None:
        """Send the events of many jobs."""
        watch = jobs_watch_of(pb.WatchJobsRequest.FromString(raw), self._tenant, self._limits)
        feed = self._hub.watch_jobs(watch)
        stream.on_end(feed.end)
        async with aclosing(feed.batches()) as batches:
            async for batch in batches:
                for response in batch_responses(batch, watch.detail):
                    await stream.write(response)
