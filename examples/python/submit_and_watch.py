"""Submits one job and watches it to its end: python submit_and_watch.py TYPE JSON. See README.md."""

from __future__ import annotations

import os
import sys

from jobwire import Client, JobState, JobwireError, Payload


def main(job_type: str, text: str) -> int:
    payload = Payload(text.encode(), "application/json", is_text=True)
    with Client(patience="1m") as client:  # JOBWIRE_ADDRESS, or 127.0.0.1:7780
        job = client.submit(job_type, payload, queue=os.environ.get("JOBWIRE_QUEUE", ""))
        print("job", job.id, file=sys.stderr)
        for update in job.watch(full=True):  # goes on through cuts and restarts of the server
            print(update.state, f"attempt {update.status.attempt}", file=sys.stderr)
    status = update.status
    match status.state:
        case JobState.COMPLETED:
            print(status.result.data.decode() if status.result else "null")
            return 0
        case JobState.FAILED:
            print(f"failed after {status.attempt} attempts: {status.last_error}", file=sys.stderr)
            return 3
        case _:  # cancelled or expired
            return 4


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print("usage: submit_and_watch TYPE JSON", file=sys.stderr)
        sys.exit(2)
    try:
        sys.exit(main(*sys.argv[1:]))
    except JobwireError as error:
        print("error:", error, file=sys.stderr)
        sys.exit(1)
