"""The backend for Django's tasks, on the real Django: enqueueing, transactions, results, the worker, the outbox."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from jobwire import JobState, Unavailable
from jobwire.errors import ArgumentInvalid
from jobwire.testing import Jobwire
from tests.helpers.processes import REPOSITORY

SETTINGS = "tests.integrations.django_project.settings"
MANAGE = REPOSITORY / "tests/integrations/django_project/manage.py"


@pytest.fixture(scope="module")
def django(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The project, set up in this process, with a database of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROJECT_DB", str(tmp_path_factory.mktemp("django") / "db.sqlite3"))
        patch.setenv("DJANGO_SETTINGS_MODULE", SETTINGS)
        import django  # noqa: PLC0415 - needs its settings first
        from django.core.management import call_command  # noqa: PLC0415
        from django.db import connections  # noqa: PLC0415

        django.setup()
        call_command("migrate", verbosity=0)
        yield django
        connections.close_all()


@pytest.fixture
def tasks(django: Any) -> Any:
    """The project's tasks."""
    from tests.integrations.django_project.shop import tasks  # noqa: PLC0415 - see above

    tasks.welcomed.clear()
    return tasks


@pytest.fixture
def work(django: Any, jobwire: Jobwire) -> Callable[[], Any]:
    """Run what is due, with the handlers that `jobwire_work` would have."""
    from jobwire.integrations.django.tasks_of_django import discover, task_backends  # noqa: PLC0415 - see above
    from jobwire.integrations.django.worker import app_of  # noqa: PLC0415

    apps = [app_of(task_backends[alias], discover().values()) for alias in ("default", "at-once", "outbox")]
    return lambda: jobwire.drain(*apps)


def test_a_task_becomes_a_job_and_its_result_comes_back(tasks: Any, jobwire: Jobwire, work: Callable[[], Any]) -> None:
    result = tasks.welcome.enqueue(7, greeting="hi")

    found = jobwire.assert_submitted("tests.integrations.django_project.shop.tasks.welcome")
    assert (found.job_id, found.queue, found.priority) == (result.id, "mail", 6)
    assert found.payload == {"args": [7], "kwargs": {"greeting": "hi"}}
    assert (result.status, result.is_finished) == ("READY", False)

    assert work().succeeded == 1

    result.refresh()
    assert (result.status, result.return_value, result.attempts, tasks.welcomed) == ("SUCCESSFUL", "hi 7", 1, [7])
    again = tasks.welcome.get_result(result.id)
    assert (again.args, again.kwargs, again.return_value) == ([7], {"greeting": "hi"}, "hi 7")
    assert again.enqueued_at <= again.started_at <= again.finished_at


def test_an_async_task_runs_too(tasks: Any, work: Callable[[], Any]) -> None:
    result = tasks.add.enqueue(1, 2)
    work()
    result.refresh()
    assert result.return_value == 3


def test_a_failure_is_tried_again_and_then_shown_with_its_errors(
    tasks: Any, jobwire: Jobwire, work: Callable[[], Any]
) -> None:
    result = tasks.fail.enqueue("no ink")
    work()
    result.refresh()
    assert (result.status, len(result.errors)) == ("READY", 1)  # waits for its second attempt
    jobwire.advance("10m")
    work()
    result.refresh()

    assert (result.status, result.attempts) == ("FAILED", 2)
    assert result.errors[-1].exception_class is ValueError
    assert "no ink" in result.errors[-1].traceback
    with pytest.raises(ValueError, match="failed"):
        _ = result.return_value


def test_a_task_with_context_is_told_its_attempt(tasks: Any, work: Callable[[], Any]) -> None:
    result = tasks.attempts.enqueue()
    work()
    result.refresh()
    assert result.return_value == 1


def test_a_rollback_enqueues_nothing_and_a_commit_does(tasks: Any, jobwire: Jobwire) -> None:
    from django.db import transaction  # noqa: PLC0415 - needs its settings first

    def roll_back() -> None:
        with transaction.atomic():
            tasks.welcome.enqueue(1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        roll_back()
    assert jobwire.submitted() == []

    with transaction.atomic():
        result = tasks.welcome.enqueue(2)
        assert jobwire.submitted() == []
    assert [job.job_id for job in jobwire.submitted()] == [result.id]
    assert result.enqueued_at is not None


def test_without_enqueue_on_commit_the_transaction_is_not_waited_for(tasks: Any, jobwire: Jobwire) -> None:
    from django.db import transaction  # noqa: PLC0415 - needs its settings first

    with transaction.atomic():
        tasks.at_once.enqueue()
        assert len(jobwire.submitted()) == 1


def test_a_lost_reply_makes_no_second_job(tasks: Any, jobwire: Jobwire) -> None:
    jobwire.lost_reply()
    tasks.welcome.enqueue(1)
    assert len(jobwire.submitted()) == 1


def test_run_after_is_kept(tasks: Any, jobwire: Jobwire, work: Callable[[], Any]) -> None:
    from django.utils import timezone  # noqa: PLC0415 - needs its settings first

    tasks.welcome.using(run_after=timezone.now() + timedelta(hours=1)).enqueue(1)
    assert (work().ran, jobwire.submitted()[0].state) == (0, JobState.SCHEDULED)
    jobwire.advance("1h")
    assert work().succeeded == 1


def test_priorities_keep_their_order_and_the_default_is_the_default(django: Any) -> None:
    from jobwire.integrations.django.backend import job_priority  # noqa: PLC0415 - needs its settings first

    mapped = [job_priority(priority) for priority in range(-100, 101)]
    assert mapped == sorted(mapped)
    assert (mapped[0], mapped[99], mapped[100], mapped[101], mapped[-1]) == (0, 4, 5, 6, 9)
    assert set(mapped) == set(range(10))


def test_a_result_that_is_not_there_is_django_s_own_error(tasks: Any, jobwire: Jobwire) -> None:
    from django_tasks.exceptions import TaskResultDoesNotExist, TaskResultMismatch  # noqa: PLC0415 - see above

    with pytest.raises(TaskResultDoesNotExist):
        tasks.welcome.get_result("no-such-job")
    foreign = jobwire.client.submit("os.system", {"args": [], "kwargs": {}})
    with pytest.raises(TaskResultDoesNotExist, match="no task that is known here"):
        tasks.welcome.get_result(foreign.id)
    other = tasks.add.enqueue(1, 2)
    with pytest.raises(TaskResultMismatch):
        tasks.welcome.get_result(other.id)


def test_queues_are_django_s_to_refuse_and_all_are_allowed_by_default(tasks: Any, jobwire: Jobwire) -> None:
    from django_tasks.exceptions import InvalidTaskError  # noqa: PLC0415 - needs its settings first

    tasks.welcome.using(queue_name="anything").enqueue(1)
    tasks.welcome.using(backend="narrow").enqueue(1)
    with pytest.raises(InvalidTaskError, match="Queue"):
        tasks.welcome.using(backend="narrow", queue_name="other")


def test_an_option_that_is_misspelled_is_refused(django: Any) -> None:
    from jobwire.integrations.django import JobwireBackend  # noqa: PLC0415 - needs its settings first

    with pytest.raises(ArgumentInvalid, match="adress, which jobwire does not know"):
        JobwireBackend("default", {"OPTIONS": {"adress": "x:1"}})


def test_a_server_that_is_away_is_an_error_where_the_transaction_ends(tasks: Any, jobwire: Jobwire) -> None:
    from django.db import transaction  # noqa: PLC0415 - needs its settings first

    from jobwire.integrations.django import JobwireBackend  # noqa: PLC0415

    backend = JobwireBackend("default", {"OPTIONS": {"tries": 1}})
    jobwire.unavailable()
    with pytest.raises(Unavailable), transaction.atomic():
        backend.enqueue(tasks.welcome, [1], {})
    assert jobwire.submitted() == []


def test_the_outbox_writes_in_the_transaction_and_the_relay_submits(
    tasks: Any, jobwire: Jobwire, work: Callable[[], Any]
) -> None:
    from django.core.management import call_command  # noqa: PLC0415 - needs its settings first
    from django.db import transaction  # noqa: PLC0415

    from jobwire.integrations.django.models import OutboxRow  # noqa: PLC0415

    def roll_back() -> None:
        with transaction.atomic():
            tasks.ship.enqueue(1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        roll_back()
    with transaction.atomic():
        result = tasks.ship.enqueue(order=2)
    assert (OutboxRow.objects.count(), jobwire.submitted()) == (1, [])

    call_command("jobwire_relay", "--once", "--backend", "outbox")

    assert OutboxRow.objects.count() == 0
    found = jobwire.assert_submitted("tests.integrations.django_project.shop.tasks.ship")
    assert (found.job_id, found.payload) == (result.id, {"args": [], "kwargs": {"order": 2}})
    work()
    result.refresh()
    assert result.status == "SUCCESSFUL"


def test_any_job_can_go_through_the_outbox_and_a_refused_one_stays(django: Any, jobwire: Jobwire) -> None:
    from jobwire.integrations.django import outbox  # noqa: PLC0415 - needs its settings first
    from jobwire.integrations.django.models import OutboxRow  # noqa: PLC0415
    from jobwire.outbox import Relay  # noqa: PLC0415

    bad = outbox.add("step", queue="Not A Queue")
    good = outbox.add("step", b"\x00", queue="fine")
    relayed = Relay(outbox.DjangoTable(), jobwire.client).once()

    assert (relayed.submitted, relayed.refused) == (1, 1)
    assert [job.job_id for job in jobwire.submitted()] == [good]
    (row,) = OutboxRow.objects.all()
    assert (row.id, row.refusal.split(":")[0]) == (bad, "FIELD_INVALID")
    row.delete()


def test_the_migration_makes_what_the_model_says(django: Any) -> None:
    from django.core.management import call_command  # noqa: PLC0415 - needs its settings first

    call_command("makemigrations", "jobwire", "--check", "--dry-run", verbosity=0)
    call_command("check", verbosity=0)


def manage(*arguments: str) -> list[str]:
    """The command line of manage.py."""
    return [sys.executable, str(MANAGE), *arguments]


def test_the_worker_command_runs_tasks_in_its_own_process(tasks: Any, jobwire: Jobwire) -> None:
    result = tasks.welcome.enqueue(7)
    ran = subprocess.run(
        manage("jobwire_work", "--max-jobs", "1", "--queue", "mail"), env=dict(os.environ), capture_output=True,
        text=True, timeout=50, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    result.refresh()
    assert (result.return_value, tasks.welcomed) == ("hello 7", [])


def test_the_worker_command_says_what_is_wrong(tasks: Any, jobwire: Jobwire) -> None:
    ran = subprocess.run(
        manage("jobwire_work", "--backend", "narrow"), env=dict(os.environ), capture_output=True, text=True, timeout=50,
        check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (
        1,
        "CommandError: There are no tasks for 'narrow'. Are their modules called tasks.py?\n",
    )


def test_the_relay_command_ends_on_a_signal(django: Any, jobwire: Jobwire) -> None:
    from jobwire.integrations.django import outbox  # noqa: PLC0415 - needs its settings first

    job_id = outbox.add("step")
    with subprocess.Popen(manage("jobwire_relay"), env=dict(os.environ)) as relay:
        watch = jobwire.client.watch(snapshot=True)
        try:
            while next(watch).job_id != job_id:
                pass
        finally:
            watch.close()
            relay.send_signal(signal.SIGTERM)
        assert relay.wait(30) == 0


def test_threads_share_one_connection(tasks: Any, jobwire: Jobwire) -> None:
    from jobwire.integrations.django.tasks_of_django import task_backends  # noqa: PLC0415 - needs its settings first

    clients: list[Any] = [task_backends["default"].client]
    thread = threading.Thread(target=lambda: clients.append(task_backends["default"].client))
    thread.start()
    thread.join()
    assert clients[0] is clients[1]
