"""Notifications, what people want to be notified of, and their language."""

from typing import Any

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models.functions import Now

KINDS = [
    "file_request_used", "link_expiring", "file_corrupted", "file_infected", "quota_low", "invited", "drift",
    "sweep_overdue", "scanner_unavailable",
]  # fmt: skip


def user(related_name: str) -> Any:
    return models.ForeignKey(
        on_delete=django.db.models.deletion.CASCADE, related_name=related_name, to=settings.AUTH_USER_MODEL
    )


class Migration(migrations.Migration):
    dependencies = [
        ("uploads", "0010_share_links"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Notification",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("kind", models.CharField(max_length=20)),
                ("key", models.CharField(max_length=100)),
                ("data", models.JSONField(default=dict)),
                ("in_app", models.BooleanField(db_default=True, default=True)),
                ("created_at", models.DateTimeField(db_default=Now(), editable=False)),
                ("read_at", models.DateTimeField(editable=False, null=True)),
                ("mailed_at", models.DateTimeField(editable=False, null=True)),
                ("user", user("notifications")),
            ],
            options={
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["user", "-id"], name="notification_by_user"),
                    models.Index(
                        fields=["user"],
                        condition=models.Q(in_app=True, read_at__isnull=True),
                        name="notification_unseen",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=["user", "kind", "key"], name="notification_once"),
                    models.CheckConstraint(condition=models.Q(kind__in=KINDS), name="notification_kind_valid"),
                ],
            },
        ),
        migrations.CreateModel(
            name="NotificationPreference",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False, auto_created=True, verbose_name="ID")),
                ("kind", models.CharField(max_length=20)),
                ("in_app", models.BooleanField(default=True)),
                ("mail", models.BooleanField(default=True)),
                ("user", user("notification_preferences")),
            ],
            options={
                "default_permissions": (),
                "constraints": [models.UniqueConstraint(fields=["user", "kind"], name="notification_preference_once")],
            },
        ),
        migrations.AddField(
            model_name="preference",
            name="language",
            field=models.CharField(blank=True, default="", db_default="", max_length=10),
        ),
    ]
