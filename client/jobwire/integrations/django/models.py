"""The table of the outbox."""

from __future__ import annotations

from django.db import models


class OutboxRow(models.Model):
    """One job that is to be submitted. Columns as in `jobwire.outbox.rows`."""

    position = models.BigAutoField(primary_key=True)
    id = models.CharField(max_length=64, unique=True)
    type = models.CharField(max_length=200)
    payload = models.BinaryField(null=True)
    content_type = models.CharField(max_length=255, blank=True)
    content_encoding = models.CharField(max_length=64, blank=True)
    is_text = models.BooleanField()
    options = models.TextField()
    create_time = models.CharField(max_length=40)
    refusal = models.TextField(null=True)

    class Meta:
        """See Django."""

        app_label = "jobwire"
        db_table = "jobwire_outbox"
        ordering = ("position",)

    def __str__(self) -> str:
        return f"{self.type} {self.id}"
