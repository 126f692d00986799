"""Jobs page by page: what the server finds, less what the rest of a filter does not keep."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobwire.cli.server import Server
from jobwire.filtering import SplitFilter
from jobwire.v1 import job_pb2
from jobwire.v1 import job_service_pb2 as pb

_PAGE_JOBS = 1000


class Pages:
    """Pages of ListJobs up to a limit of jobs that match, newest first, and what the last page said of the rest."""

    def __init__(self, server: Server, chosen: SplitFilter, limit: int | None) -> None:
        self._server = server
        self._chosen = chosen
        self._limit = limit
        self._cursor: dict[str, Any] | None = None
        self._token = ""
        self._was_cut = False

    @property
    def has_more(self) -> bool:
        """True when the limit ended the list before the server did: there may be more."""
        return self._was_cut or bool(self._token)

    def __iter__(self) -> Iterator[list[job_pb2.Job]]:
        left = self._limit
        while left is None or left > 0:
            answer = self._page(left)
            found = [job for job in answer.jobs if self._chosen.keeps(job)]
            self._was_cut = left is not None and len(found) > left
            yield found if left is None else found[:left]
            if not self._token:
                return
            left = None if left is None else left - len(found)

    def _page(self, left: int | None) -> pb.ListJobsResponse:
        # With a rest to apply, a page the size of what is left would find little of it, and cost as much.
        size = _PAGE_JOBS if left is None or self._chosen.rest else min(left, _PAGE_JOBS)
        request = pb.ListJobsRequest(
            filter=self._chosen.condition, page_size=size, page_token=self._token, view=job_pb2.JOB_VIEW_BASIC
        )
        answer = self._server.call("ListJobs", request, pb.ListJobsResponse)
        self._token = answer.next_page_token
        if self._cursor is None and answer.HasField("cursor"):
            self._cursor = {"epoch": answer.cursor.epoch, "revision": str(answer.cursor.revision)}
        return answer

    def tail(self) -> dict[str, Any]:
        """The other fields of ListJobsResponse; the token is None where the limit fell inside a page."""
        return {"next_page_token": None if self._was_cut else self._token, "cursor": self._cursor}
