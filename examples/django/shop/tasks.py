from django_tasks import task


@task(queue_name="mail", priority=10)
def welcome(user_id: int) -> str:
    return f"welcomed {user_id}"
