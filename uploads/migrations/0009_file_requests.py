"""File requests, the sessions of their guests, and the counters of what each request has received."""

import uuid

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

from uploads.migrations._roles import grant

# Counts what guests have sent or reserved. An upload that ends unfinished gives its place back; a finished file keeps
# it, whatever becomes of the file.
COUNT = """
CREATE FUNCTION uploads_file_request_count_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE uploads_filerequest SET file_count = file_count + 1, byte_count = byte_count + NEW.size
    WHERE id = (SELECT request_id FROM uploads_guestsession WHERE id = NEW.guest_session_id);
    RETURN NULL;
END
$$;
CREATE FUNCTION uploads_file_request_count_update() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    files int := CASE WHEN NEW.state = 'deleting' THEN -1 ELSE 0 END;
    bytes bigint := CASE WHEN NEW.state = 'deleting' THEN -OLD.size ELSE NEW.size - OLD.size END;
BEGIN
    UPDATE uploads_filerequest SET file_count = file_count + files, byte_count = byte_count + bytes
    WHERE id = (SELECT request_id FROM uploads_guestsession WHERE id = NEW.guest_session_id);
    RETURN NULL;
END
$$;

CREATE TRIGGER uploads_file_request_count_insert AFTER INSERT ON uploads_file
    FOR EACH ROW WHEN (NEW.guest_session_id IS NOT NULL) EXECUTE FUNCTION uploads_file_request_count_insert();
CREATE TRIGGER uploads_file_request_count_update AFTER UPDATE OF state, size ON uploads_file
    FOR EACH ROW WHEN (
        NEW.guest_session_id IS NOT NULL AND OLD.state IN ('uploading', 'completing')
        AND (NEW.size <> OLD.size OR NEW.state = 'deleting')
    ) EXECUTE FUNCTION uploads_file_request_count_update();
"""
UNCOUNT = """
DROP TRIGGER uploads_file_request_count_insert ON uploads_file;
DROP TRIGGER uploads_file_request_count_update ON uploads_file;
DROP FUNCTION uploads_file_request_count_insert();
DROP FUNCTION uploads_file_request_count_update();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("uploads", "0008_preferences"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="FileRequest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("token_digest", models.BinaryField(max_length=32, unique=True)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False, verbose_name="created"
                    ),
                ),
                ("expires_at", models.DateTimeField(blank=True, null=True, verbose_name="expires")),
                ("revoked_at", models.DateTimeField(editable=False, null=True, verbose_name="revoked")),
                ("last_used_at", models.DateTimeField(editable=False, null=True, verbose_name="last used")),
                (
                    "use_count",
                    models.PositiveIntegerField(db_default=0, default=0, editable=False, verbose_name="uses"),
                ),
                ("title", models.CharField(max_length=200, verbose_name="title")),
                ("text", models.TextField(blank=True, default="", max_length=2000, verbose_name="message")),
                ("max_file_bytes", models.BigIntegerField(verbose_name="maximum file size")),
                ("max_files", models.PositiveIntegerField(verbose_name="number of files")),
                ("max_bytes", models.BigIntegerField(verbose_name="total size")),
                (
                    "accepted_types",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=100),
                        blank=True,
                        default=list,
                        size=50,
                        verbose_name="accepted types",
                    ),
                ),
                (
                    "ask_name",
                    models.CharField(
                        choices=[("no", "Don't ask"), ("optional", "Optional"), ("required", "Required")],
                        default="optional",
                        max_length=8,
                        verbose_name="name",
                    ),
                ),
                (
                    "ask_address",
                    models.CharField(
                        choices=[("no", "Don't ask"), ("optional", "Optional"), ("required", "Required")],
                        default="optional",
                        max_length=8,
                        verbose_name="email address",
                    ),
                ),
                ("file_count", models.PositiveIntegerField(db_default=0, default=0, editable=False)),
                ("byte_count", models.BigIntegerField(db_default=0, default=0, editable=False)),
            ],
            options={
                "verbose_name": "file request",
                "verbose_name_plural": "file requests",
                "ordering": ["-created_at", "-id"],
                "permissions": [("request_files", "Can request files")],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="GuestSession",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(blank=True, default="", max_length=100, verbose_name="name")),
                ("address", models.EmailField(blank=True, default="", max_length=254, verbose_name="email address")),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False, verbose_name="created"
                    ),
                ),
            ],
            options={
                "verbose_name": "guest",
                "verbose_name_plural": "guests",
                "default_permissions": (),
            },
        ),
        migrations.RemoveConstraint(
            model_name="file",
            name="file_token_unique",
        ),
        migrations.AddField(
            model_name="filerequest",
            name="created_by",
            field=models.ForeignKey(
                editable=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
                verbose_name="created by",
            ),
        ),
        migrations.AddField(
            model_name="filerequest",
            name="folder",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="uploads.folder",
                verbose_name="folder",
            ),
        ),
        migrations.AddField(
            model_name="filerequest",
            name="revoked_by",
            field=models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
                verbose_name="revoked by",
            ),
        ),
        migrations.AddField(
            model_name="guestsession",
            name="request",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="sessions",
                to="uploads.filerequest",
            ),
        ),
        migrations.AddField(
            model_name="file",
            name="guest_session",
            field=models.ForeignKey(
                db_index=False,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="files",
                to="uploads.guestsession",
                verbose_name="sent by a guest",
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.UniqueConstraint(
                condition=models.Q(("guest_session__isnull", True)), fields=("owner", "token"), name="file_token_unique"
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.UniqueConstraint(
                condition=models.Q(("guest_session__isnull", False)),
                fields=("guest_session", "token"),
                name="file_guest_token_unique",
            ),
        ),
        migrations.AddIndex(
            model_name="filerequest",
            index=models.Index(fields=["created_by", "-created_at", "-id"], name="file_request_by_creator"),
        ),
        migrations.AddIndex(
            model_name="filerequest",
            index=models.Index(fields=["folder"], name="file_request_by_folder"),
        ),
        migrations.AddConstraint(
            model_name="filerequest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("ask_address__in", ["no", "optional", "required"]),
                    ("ask_name__in", ["no", "optional", "required"]),
                ),
                name="file_request_asks_valid",
            ),
        ),
        migrations.AddConstraint(
            model_name="filerequest",
            constraint=models.CheckConstraint(
                condition=models.Q(("max_bytes__gt", 0), ("max_file_bytes__gt", 0), ("max_files__gt", 0)),
                name="file_request_limits_positive",
            ),
        ),
        migrations.AddConstraint(
            model_name="filerequest",
            constraint=models.CheckConstraint(
                condition=models.Q(("byte_count__gte", 0), ("file_count__gte", 0)),
                name="file_request_counts_not_negative",
            ),
        ),
        migrations.RunSQL(COUNT, UNCOUNT),
        grant({role: ["request_files"] for role in ("uploaders", "managers", "administrators")}),
    ]
