"""Watch every job of a type while submitting some, with asyncio. Start `jobwire dev` in another terminal first."""

from __future__ import annotations

import asyncio

from jobwire import AsyncClient, JobFilter, Submission


async def main() -> None:
    async with AsyncClient() as client:
        start = (await client.server_info()).current
        names = ("Ada", "Grace", "Barbara")
        results = await client.submit_many([Submission("hello", name) for name in names])
        waiting = {result.unwrap().id for result in results}
        async with asyncio.timeout(30):
            # From before the submit, so nothing is missed; each change comes once, in the order of the commits.
            async for event in client.watch(JobFilter(types=("hello",)), after=start):
                print(event.revision, event.job_id, event.status.state)
                if event.status.state.is_terminal:
                    waiting.discard(event.job_id)
                if not waiting:
                    break


if __name__ == "__main__":
    asyncio.run(main())
