"""Sessions that know their person, counted attempts to sign in, and a table for what processes must agree on."""

from __future__ import annotations

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

ACTIONS = [
    ("upload", "uploaded"),
    ("version", "uploaded a new version"),
    ("version_back", "went back to an older version"),
    ("download", "downloaded"),
    ("rename", "renamed"),
    ("move", "moved"),
    ("tag", "changed the tags"),
    ("visibility", "changed who may see it"),
    ("trash", "put into the trash"),
    ("restore", "restored"),
    ("purge", "removed for good"),
    ("folder", "changed a folder"),
    ("access", "changed the access of a folder"),
    ("login", "signed in"),
    ("logout", "signed out"),
    ("login_failed", "failed to sign in"),
    ("password", "changed a password"),
    ("factor", "changed a second factor"),
    ("session", "ended sessions"),
    ("account", "opened or closed an account"),
    ("admin", "changed in the admin"),
    ("export", "exported"),
    ("import", "brought in with a bucket"),
    ("repair", "repaired"),
]

# As `createcachetable` makes it; with CACHE_URL it stays empty.
CACHE = """
    CREATE TABLE uploads_cache (cache_key varchar(255) PRIMARY KEY, value text NOT NULL, expires timestamptz NOT NULL);
    CREATE INDEX uploads_cache_expires ON uploads_cache (expires);
"""


class Migration(migrations.Migration):
    dependencies = [("uploads", "0013_see_reports"), migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.CreateModel(
            name="Attempt",
            fields=[
                ("key", models.CharField(max_length=120, primary_key=True, serialize=False)),
                ("tries", models.FloatField()),
                ("tried_at", models.DateTimeField(db_index=True)),
                ("waits_until", models.DateTimeField(null=True)),
            ],
            options={"default_permissions": ()},
        ),
        migrations.AlterField(
            model_name="event",
            name="action",
            field=models.CharField(choices=ACTIONS, max_length=12, verbose_name="what"),
        ),
        migrations.CreateModel(
            name="Session",
            fields=[
                (
                    "session_key",
                    models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="session key"),
                ),
                ("session_data", models.TextField(verbose_name="session data")),
                ("expire_date", models.DateTimeField(db_index=True, verbose_name="expire date")),
                (
                    "person",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "session",
                "verbose_name_plural": "sessions",
                "abstract": False,
                "default_permissions": (),
            },
        ),
        migrations.RunSQL(CACHE, "DROP TABLE uploads_cache"),
    ]
