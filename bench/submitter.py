"""A client that submits no-op jobs: `python -m bench.submitter ADDRESS JOBS`; prints the CPU seconds that it took."""

from __future__ import annotations

import sys
import time

from bench.load import PAYLOAD
from jobwire import Client


def submit(address: str, jobs: int) -> float:
    """Submit them in batches, as the SDK makes them, and check each answer; the CPU seconds of this process."""
    with Client(address) as client:
        begin = time.process_time()
        payload = PAYLOAD.encode()
        for result in client.submit_each(("bench.noop", payload) for _ in range(jobs)):
            result.unwrap()
        return time.process_time() - begin


if __name__ == "__main__":
    print(submit(sys.argv[1], int(sys.argv[2])))
