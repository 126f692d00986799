"""The committed code of the contract: it imports anywhere the wheel may be installed, and it is all there."""

import subprocess
import sys
from importlib.resources import files

from jobwire.v1 import admin_service_pb2, job_pb2, job_service_pb2, worker_service_pb2


def test_the_generated_code_imports_without_a_warning() -> None:
    modules = "jobwire.v1.job_service_pb2_grpc, jobwire.v1.admin_service_pb2_grpc"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import {modules}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_only_rpcs_that_work_are_declared() -> None:
    declared = {
        f"{service.name}.{method.name}"
        for module in (job_service_pb2, worker_service_pb2, admin_service_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    reads = {"GetJob", "BatchGetJobs", "ListJobs", "WatchJob", "WatchJobs"}
    writes = {"SubmitJob", "BatchSubmitJobs", "CancelJob", "RetryJob", "DeleteJob"}
    work = {"Work", "PullJobs", "CompleteJob", "FailJob", "Heartbeat", "ReportOutcomes"}
    assert declared == (
        {f"JobService.{verb}" for verb in reads | writes}
        | {f"WorkerService.{verb}" for verb in work}
        | {"AdminService.GetServerInfo", "AdminService.ListWorkers"}
    )


def test_the_contract_ships_with_the_package_in_the_version_that_was_generated() -> None:
    folder = files("jobwire") / "protos" / "jobwire" / "v1"
    for module in (job_pb2, job_service_pb2, worker_service_pb2, admin_service_pb2):
        text = (folder / module.DESCRIPTOR.name.rpartition("/")[2]).read_text(encoding="utf-8")
        assert "package jobwire.v1;" in text
        for message in module.DESCRIPTOR.message_types_by_name:
            assert f"message {message} {{" in text
