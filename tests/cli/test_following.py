"""Following jobs through cuts, other stores and restarts."""

from __future__ import annotations

import json
import threading

from jobwire.v1 import job_service_pb2 as pb
from tests.cli.conftest import Jobwire
from tests.cli.scripted import Refusal, Service


def test_a_watch_shows_every_change_once_through_cuts(jobwire: Jobwire, service: Service) -> None:
    jobwire("submit flaky --job-id mine")
    service.cuts = 3

    ran = jobwire("watch mine --since 0 --no-progress")

    assert ran.exit_code == 0
    assert [line.split()[2] for line in ran.stdout.splitlines()] == [
        "PENDING", "PROCESSING", "RETRYING", "PROCESSING", "COMPLETED",
    ]  # fmt: skip
    assert service.cuts == 0
    assert "connection lost; connecting again" in ran.stderr


def test_run_comes_to_the_result_through_cuts(jobwire: Jobwire, service: Service) -> None:
    service.cuts = 2

    ran = jobwire("run hello")

    assert (ran.exit_code, ran.stdout) == (0, '"Hello, world"\n')


def test_a_stream_resumes_with_the_last_cursor(jobwire: Jobwire, service: Service) -> None:
    jobwire("submit stuck --job-id mine")
    service.cuts = 1
    later = threading.Timer(0.2, service.step, ("mine", "COMPLETED"))
    later.start()

    jobwire("watch mine")

    later.join()
    first, second = (request for rpc, request in service.calls if rpc == "WatchJobs")
    assert isinstance(first, pb.WatchJobsRequest)
    assert isinstance(second, pb.WatchJobsRequest)
    assert first.send_initial_state
    assert not first.HasField("after")
    assert not second.send_initial_state
    assert second.after.revision > 0


def test_waiting_is_woken_by_the_change(jobwire: Jobwire, service: Service) -> None:
    jobwire("submit stuck --job-id mine")

    def finish() -> None:
        service.tell_progress("mine", 60.0, "more than half")
        service.step("mine", "COMPLETED", seconds=3)

    later = threading.Timer(0.2, finish)
    later.start()
    half, whole = jobwire("wait mine --for progress>=50 -o id"), jobwire("wait mine -o id")
    later.join()

    assert (half.exit_code, half.stdout) == (0, "mine\n")
    assert (whole.exit_code, whole.stdout) == (0, "mine\n")


def test_a_job_that_is_deleted_while_it_is_waited_for_is_told(jobwire: Jobwire, service: Service) -> None:
    jobwire("submit stuck --job-id mine")
    service.delete_soon("mine")

    ran = jobwire("wait mine")

    assert ran.exit_code == 6
    assert ran.stderr.startswith("error[JOB_DELETED]")


def test_a_lost_place_in_the_log_starts_over_from_the_current_state(jobwire: Jobwire, service: Service) -> None:
    jobwire("submit hello --job-id mine")
    service.stream_refusals.append(Refusal("OUT_OF_RANGE", "REVISION_COMPACTED", "That is too long ago."))

    ran = jobwire("watch mine --since 0")

    assert ran.exit_code == 0
    assert [line.split()[2] for line in ran.stdout.splitlines()] == ["COMPLETED"]
    assert "no longer has this place in its log" in ran.stderr


def test_a_watch_that_is_refused_says_why(jobwire: Jobwire, service: Service) -> None:
    service.stream_refusals.append(Refusal("PERMISSION_DENIED", "ACTION_DENIED", "You may not watch."))

    ran = jobwire("watch --queue secret")

    assert ran.exit_code == 8
    assert ran.stderr.startswith("error[ACTION_DENIED] you may not watch")


def test_events_of_a_job_end_by_themselves_and_go_on_when_asked(jobwire: Jobwire, service: Service) -> None:
    jobwire("submit stuck --job-id mine")
    before = jobwire("job events mine -o jsonl")
    later = threading.Timer(0.2, service.step, ("mine", "COMPLETED"))
    later.start()
    watched = jobwire("job events mine --watch -o jsonl")
    later.join()

    def states(text: str) -> list[str]:
        return [json.loads(line)["status"]["state"].removeprefix("JOB_STATE_") for line in text.splitlines()]

    assert states(before.stdout) == ["PENDING", "PROCESSING"]
    assert states(watched.stdout) == ["PENDING", "PROCESSING", "COMPLETED"]


def test_a_watch_by_filter_ends_at_its_timeout_only(jobwire: Jobwire, service: Service) -> None:
    later = threading.Timer(0.1, lambda: jobwire_submit(service))
    later.start()
    ran = jobwire("watch --type hello --timeout 600ms")
    later.join()

    assert ran.exit_code == 5
    assert ran.stderr == "error[WAIT_TIMEOUT] the 0.6 s of --timeout are over\n"
    assert [line.split()[2] for line in ran.stdout.splitlines()] == ["PENDING", "PROCESSING", "COMPLETED"]


def test_progress_has_the_time_at_which_it_was_heard(jobwire: Jobwire, service: Service) -> None:
    jobwire("submit stuck --job-id mine")
    service.tell_progress("mine", 41.0, "rendered 410/1000")

    ran = jobwire("watch mine --since 0 --until progress>=40")

    *_, line = ran.stdout.splitlines()
    assert "progress=41" in line
    assert not line.startswith("1970")


def jobwire_submit(service: Service) -> None:
    request = pb.SubmitJobRequest(request_id="k")
    request.spec.type = "hello"
    service.SubmitJob(request, None)
