"""Submit a job, watch it, take its result. Start `jobwire dev` in another terminal first."""

from __future__ import annotations

from jobwire import Client


def main() -> None:
    with Client() as client:  # JOBWIRE_ADDRESS, or 127.0.0.1:7780
        job = client.submit("hello", "Ada", key="greet-ada")  # the same key never makes a second job
        for update in job.watch():  # goes on through cuts and restarts of the server
            print(update.state, f"attempt {update.status.attempt}")
        print(job.result(timeout="30s"))


if __name__ == "__main__":
    main()
