SECRET_KEY = "change me"
USE_TZ = True
INSTALLED_APPS = [
    "django_tasks",  # Django 6 has it built in
    "jobwire.integrations.django",
    "shop",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
TASKS = {"default": {"BACKEND": "jobwire.integrations.django.JobwireBackend", "OPTIONS": {}}}
