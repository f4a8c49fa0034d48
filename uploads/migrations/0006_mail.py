"""Mails that wait to be sent."""

import uuid

from django.db import migrations, models
from django.db.models.functions import Now

STATES = ["waiting", "sending", "sent", "refused", "abandoned", "unknown"]


class Migration(migrations.Migration):
    dependencies = [("uploads", "0005_quotas")]

    operations = [
        migrations.CreateModel(
            name="OutgoingMail",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("template", models.CharField(max_length=50)),
                ("language", models.CharField(max_length=10)),
                ("payload", models.TextField(blank=True)),
                (
                    "state",
                    models.CharField(
                        choices=[(state, state.capitalize()) for state in STATES], default="waiting", max_length=9
                    ),
                ),
                ("tries", models.PositiveSmallIntegerField(default=0)),
                ("response", models.CharField(blank=True, max_length=40)),
                ("created_at", models.DateTimeField(db_default=Now(), editable=False)),
                ("changed_at", models.DateTimeField(db_default=Now(), editable=False)),
            ],
            options={
                "default_permissions": (),
                "indexes": [models.Index(fields=["state", "changed_at"], name="mail_by_state")],
                "constraints": [models.CheckConstraint(condition=models.Q(state__in=STATES), name="mail_state_valid")],
            },
        ),
    ]
