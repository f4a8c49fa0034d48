"""What operators' commands keep, where a file is, who made its object, and when it was last read."""

import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import uploads.models.file

# Postgres does not widen a column that a trigger names: it stands aside for that moment, in the same transaction.
DROP_GUARD = "DROP TRIGGER uploads_file_guard ON uploads_file"
CREATE_GUARD = """
CREATE TRIGGER uploads_file_guard BEFORE UPDATE OF state, key OR DELETE ON uploads_file
    FOR EACH ROW EXECUTE FUNCTION uploads_file_guard()
"""


class Migration(migrations.Migration):
    dependencies = [
        ("uploads", "0009_find_events"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Finding",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "trouble",
                    models.CharField(
                        choices=[
                            ("missing", "the object of a file is not there"),
                            ("orphan", "an object without a file"),
                            ("size", "an object of another size than its file"),
                            ("etag", "an object with another ETag than its file"),
                            ("stuck", "a file that should have moved on"),
                            ("multipart", "an upload in parts that belongs to no file"),
                            ("foreign", "a key in our part of the bucket that we did not make"),
                            ("damaged", "the stored bytes are not the ones that were announced"),
                            ("failed", "could not be looked at"),
                        ],
                        max_length=9,
                        verbose_name="what",
                    ),
                ),
                ("key", models.CharField(db_collation="C", max_length=1024, verbose_name="key")),
                ("file_id", models.UUIDField(null=True, verbose_name="file")),
                ("detail", models.JSONField(default=dict, verbose_name="details")),
                ("mended", models.CharField(blank=True, max_length=40, verbose_name="mended by")),
            ],
            options={
                "verbose_name": "finding",
                "verbose_name_plural": "findings",
                "ordering": ["id"],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Heartbeat",
            fields=[
                ("name", models.CharField(max_length=20, primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Installation",
            fields=[
                ("number", models.PositiveSmallIntegerField(primary_key=True, serialize=False)),
                ("id", models.UUIDField(default=uuid.uuid4, editable=False)),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Report",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("command", models.CharField(max_length=20, verbose_name="command")),
                ("scope", models.CharField(blank=True, max_length=1024, verbose_name="of what")),
                (
                    "started_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False, verbose_name="started"
                    ),
                ),
                ("ended_at", models.DateTimeField(editable=False, null=True, verbose_name="ended")),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("running", "running"),
                            ("agreed", "agreed"),
                            ("differences", "differences"),
                            ("refused", "refused"),
                            ("stopped", "stopped"),
                        ],
                        default="running",
                        max_length=11,
                        verbose_name="outcome",
                    ),
                ),
                ("cursor", models.CharField(blank=True, editable=False, max_length=1024)),
                ("summary", models.JSONField(default=dict, verbose_name="figures")),
            ],
            options={
                "verbose_name": "report",
                "verbose_name_plural": "reports",
                "ordering": ["-id"],
                "default_permissions": ("view",),
            },
        ),
        migrations.RemoveConstraint(
            model_name="file",
            name="file_key_is_ours",
        ),
        migrations.RemoveConstraint(
            model_name="file",
            name="file_available_has_its_facts",
        ),
        migrations.RenameField(
            model_name="file",
            old_name="checked_at",
            new_name="verified_at",
        ),
        migrations.AddField(
            model_name="file",
            name="origin",
            field=models.CharField(
                choices=[
                    ("uploaded", "uploaded here"),
                    ("imported", "imported; its object is never removed by us"),
                    ("adopted", "imported; its object is ours to remove"),
                ],
                db_default="uploaded",
                default="uploaded",
                editable=False,
                max_length=8,
                verbose_name="origin",
            ),
        ),
        migrations.AddField(
            model_name="file",
            name="store",
            field=models.CharField(
                blank=True,
                db_default="",
                default=uploads.models.file.main_store,
                editable=False,
                max_length=40,
                verbose_name="store",
            ),
        ),
        migrations.AddField(
            model_name="preview",
            name="store",
            field=models.CharField(
                blank=True, db_default="", default=uploads.models.file.main_store, editable=False, max_length=40
            ),
        ),
        migrations.AlterField(
            model_name="event",
            name="action",
            field=models.CharField(
                choices=[
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
                    ("admin", "changed in the admin"),
                    ("export", "exported"),
                    ("import", "brought in with a bucket"),
                    ("repair", "repaired"),
                ],
                max_length=12,
                verbose_name="what",
            ),
        ),
        migrations.AlterField(
            model_name="file",
            name="checksum_basis",
            field=models.CharField(
                choices=[
                    ("store", "checked by the store on arrival"),
                    ("claimed", "announced by the sender, not yet checked"),
                    ("read", "checked by reading the stored bytes"),
                    ("unread", "nothing yet: the file was brought in with the bucket and has not been read"),
                    ("damaged", "the stored bytes are not the ones that were announced"),
                    ("missing", "nothing: the stored bytes are not there"),
                ],
                default="claimed",
                editable=False,
                max_length=10,
                verbose_name="checksum rests on",
            ),
        ),
        migrations.RunSQL(DROP_GUARD, CREATE_GUARD),
        migrations.AlterField(
            model_name="file",
            name="key",
            field=models.CharField(
                db_collation="C",
                default=uploads.models.file.new_key,
                editable=False,
                max_length=1024,
                verbose_name="key",
            ),
        ),
        migrations.RunSQL(CREATE_GUARD, DROP_GUARD),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                models.OrderBy(models.F("verified_at"), nulls_first=True),
                models.F("id"),
                condition=models.Q(("state", "available")),
                name="file_verified",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("origin", "uploaded"), _negated=True), fields=["id"], name="file_imported"
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.UniqueConstraint(fields=("key", "store"), name="file_key_is_used_once"),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("key__regex", "^f/[0-9a-f]{32}$"), models.Q(("origin", "uploaded"), _negated=True), _connector="OR"
                ),
                name="file_key_is_ours",
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(
                condition=models.Q(("origin__in", ["uploaded", "imported", "adopted"])), name="file_origin_is_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state__in", ["available", "trashed"]), _negated=True),
                    models.Q(
                        models.Q(("etag", ""), _negated=True),
                        models.Q(("checksum_algorithm", ""), _negated=True),
                        ("checksum_basis__in", ["store", "claimed", "read", "unread", "damaged", "missing"]),
                        ("available_at__isnull", False),
                        models.Q(
                            models.Q(("checksum", ""), _negated=True),
                            models.Q(("origin", "uploaded"), _negated=True),
                            _connector="OR",
                        ),
                    ),
                    _connector="OR",
                ),
                name="file_available_has_its_facts",
            ),
        ),
        migrations.AddConstraint(
            model_name="installation",
            constraint=models.CheckConstraint(condition=models.Q(("number", 1)), name="installation_is_one"),
        ),
        migrations.AddIndex(
            model_name="report",
            index=models.Index(fields=["command", "-id"], name="report_of_command"),
        ),
        migrations.AddConstraint(
            model_name="report",
            constraint=models.CheckConstraint(
                condition=models.Q(("outcome__in", ["running", "agreed", "differences", "refused", "stopped"])),
                name="report_outcome_is_known",
            ),
        ),
        migrations.AddField(
            model_name="finding",
            name="report",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="findings",
                to="uploads.report",
                verbose_name="report",
            ),
        ),
        migrations.AddIndex(
            model_name="finding",
            index=models.Index(fields=["report", "trouble", "id"], name="finding_of_report"),
        ),
        migrations.AddConstraint(
            model_name="finding",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "trouble__in",
                        ["missing", "orphan", "size", "etag", "stuck", "multipart", "foreign", "damaged", "failed"],
                    )
                ),
                name="finding_trouble_is_known",
            ),
        ),
    ]
