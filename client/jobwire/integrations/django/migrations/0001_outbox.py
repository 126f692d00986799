"""The table of the outbox."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """See Django."""

    initial = True
    dependencies: ClassVar[list[tuple[str, str]]] = []
    operations: ClassVar[list[Any]] = [
        migrations.CreateModel(
            name="OutboxRow",
            fields=[
                ("position", models.BigAutoField(primary_key=True, serialize=False)),
                ("id", models.CharField(max_length=64, unique=True)),
                ("type", models.CharField(max_length=200)),
                ("payload", models.BinaryField(null=True)),
                ("content_type", models.CharField(blank=True, max_length=255)),
                ("content_encoding", models.CharField(blank=True, max_length=64)),
                ("is_text", models.BooleanField()),
                ("options", models.TextField()),
                ("create_time", models.CharField(max_length=40)),
                ("refusal", models.TextField(null=True)),
            ],
            options={"db_table": "jobwire_outbox", "ordering": ("position",)},
        ),
    ]
