"""Tasks of the shop."""

from __future__ import annotations

from typing import Any

from django_tasks import task

welcomed: list[int] = []
"""What `welcome` did in this process."""


@task(queue_name="mail", priority=10)
def welcome(user_id: int, *, greeting: str = "hello") -> str:
    welcomed.append(user_id)
    return f"{greeting} {user_id}"


@task
async def add(a: int, b: int) -> int:
    return a + b


@task
def fail(reason: str) -> None:
    raise ValueError(reason)


@task(takes_context=True)
def attempts(context: Any) -> int:
    return int(context.attempt)


@task(backend="at-once")
def at_once() -> None:
    """Nothing."""


@task(backend="outbox")
def ship(order: int) -> None:
    """Nothing."""
