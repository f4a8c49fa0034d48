"""Tables, indexes and constraints, as `makemigrations` writes them; the trigram extension is added by hand."""

import uuid

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.functions.comparison
import django.db.models.functions.datetime
from django.conf import settings
from django.contrib.postgres.operations import TrigramExtension
from django.db import migrations, models

import uploads.models.content
import uploads.models.fields
import uploads.models.file


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        TrigramExtension(),
        migrations.CreateModel(
            name="StatisticDelta",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=8)),
                ("key", models.CharField(max_length=20)),
                ("status", models.CharField(max_length=10)),
                ("files", models.BigIntegerField()),
                ("bytes", models.BigIntegerField()),
            ],
            options={
                "default_permissions": (),
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
            name="TokenBucket",
            fields=[
                ("key", models.CharField(max_length=120, primary_key=True, serialize=False)),
                ("full_at", models.DateTimeField(db_index=True)),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False, verbose_name="when"
                    ),
                ),
                (
                    "action",
                    models.CharField(
                        choices=[
                            ("upload", "uploaded"),
                            ("version", "uploaded a new version"),
                            ("version_restored", "went back to an older version"),
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
                            ("two_factor", "changed a second factor"),
                            ("session", "ended sessions"),
                            ("account", "opened or closed an account"),
                            ("admin", "changed in the admin"),
                            ("export", "exported"),
                            ("import", "brought in with a bucket"),
                            ("repair", "repaired"),
                        ],
                        max_length=20,
                        verbose_name="what",
                    ),
                ),
                ("actor_id", models.BigIntegerField(null=True)),
                ("actor", models.CharField(blank=True, max_length=150, verbose_name="who")),
                ("file_id", models.UUIDField(null=True, verbose_name="file")),
                ("folder_id", models.BigIntegerField(null=True)),
                ("name", models.CharField(blank=True, max_length=255, verbose_name="name")),
                ("address", models.GenericIPAddressField(null=True, unpack_ipv4=True, verbose_name="from where")),
                ("detail", models.JSONField(default=dict, verbose_name="details")),
            ],
            options={
                "verbose_name": "activity",
                "verbose_name_plural": "activity",
                "ordering": ["-id"],
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("file_id__isnull", False)), fields=["file_id", "-id"], name="event_by_file"
                    ),
                    models.Index(fields=["actor_id", "-id"], name="event_by_actor"),
                    models.Index(fields=["action", "-id"], name="event_by_action"),
                    models.Index(fields=["at"], name="event_by_time"),
                    models.Index(fields=["name", "-id"], name="event_by_name"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Statistic",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "kind", "key", "status", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("total", "in total"),
                            ("owner", "by owner"),
                            ("folder", "by folder"),
                            ("category", "by type"),
                            ("day", "by day"),
                            ("tag", "by tag"),
                        ],
                        max_length=8,
                    ),
                ),
                ("key", models.CharField(max_length=20)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("stored", "in the library"),
                            ("version", "older versions"),
                            ("trashed", "in the trash"),
                            ("unfinished", "unfinished"),
                        ],
                        max_length=10,
                    ),
                ),
                ("files", models.BigIntegerField(default=0)),
                ("bytes", models.BigIntegerField(default=0)),
            ],
            options={
                "verbose_name": "statistic",
                "verbose_name_plural": "statistics",
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("kind", "day"), _negated=True),
                        fields=["kind", "status", "-bytes"],
                        name="statistic_largest",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Folder",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=255, verbose_name="name")),
                (
                    "normalized_name",
                    uploads.models.fields.NormalizedNameField(db_collation="C", default="", editable=False),
                ),
                (
                    "path",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), default=list, editable=False, size=None
                    ),
                ),
                ("restricted", models.BooleanField(default=False, verbose_name="only for chosen groups")),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False, verbose_name="created"
                    ),
                ),
                ("removed_at", models.DateTimeField(editable=False, null=True, verbose_name="removed")),
                (
                    "created_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="created by",
                    ),
                ),
                (
                    "access_root",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="uploads.folder",
                    ),
                ),
                (
                    "parent",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="children",
                        to="uploads.folder",
                    ),
                ),
            ],
            options={
                "verbose_name": "folder",
                "verbose_name_plural": "folders",
                "ordering": ["normalized_name", "id"],
            },
        ),
        migrations.CreateModel(
            name="File",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                (
                    "key",
                    models.CharField(
                        db_collation="C",
                        default=uploads.models.file.new_key,
                        editable=False,
                        max_length=1024,
                        verbose_name="key",
                    ),
                ),
                (
                    "store",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default=uploads.models.file.main_store,
                        editable=False,
                        max_length=40,
                        verbose_name="store",
                    ),
                ),
                (
                    "origin",
                    models.CharField(
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
                ("token", models.UUIDField(default=uuid.uuid4, editable=False)),
                ("name", models.CharField(max_length=255, verbose_name="name")),
                (
                    "normalized_name",
                    uploads.models.fields.NormalizedNameField(db_collation="C", default="", editable=False),
                ),
                ("series", models.UUIDField(editable=False, null=True)),
                ("current", models.BooleanField(default=True, editable=False)),
                (
                    "visibility",
                    models.CharField(
                        choices=[("team", "Team"), ("private", "Private")],
                        default="team",
                        max_length=7,
                        verbose_name="visibility",
                    ),
                ),
                (
                    "declared_type",
                    models.CharField(blank=True, default="", max_length=255, verbose_name="declared type"),
                ),
                (
                    "detected_type",
                    models.CharField(blank=True, default="", max_length=255, verbose_name="detected type"),
                ),
                (
                    "content_encoding",
                    models.CharField(editable=False, max_length=100, null=True, verbose_name="content encoding"),
                ),
                (
                    "category",
                    models.CharField(
                        choices=[
                            ("image", "Images"),
                            ("video", "Video"),
                            ("audio", "Audio"),
                            ("pdf", "PDF"),
                            ("document", "Documents"),
                            ("text", "Text and code"),
                            ("archive", "Archives"),
                            ("other", "Other"),
                        ],
                        default="other",
                        editable=False,
                        max_length=8,
                        verbose_name="type",
                    ),
                ),
                ("modified", models.DateTimeField(blank=True, null=True, verbose_name="modified at the sender")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("uploading", "Uploading"),
                            ("completing", "Completing"),
                            ("available", "Available"),
                            ("trashed", "In the trash"),
                            ("deleting", "Deleting"),
                        ],
                        default="uploading",
                        editable=False,
                        max_length=10,
                        verbose_name="state",
                    ),
                ),
                ("size", models.BigIntegerField(editable=False, verbose_name="size")),
                ("part_size", models.BigIntegerField(editable=False)),
                ("multipart_id", models.TextField(blank=True, default="", editable=False)),
                ("etag", models.CharField(blank=True, default="", editable=False, max_length=80, verbose_name="ETag")),
                (
                    "checksum",
                    models.CharField(blank=True, default="", editable=False, max_length=60, verbose_name="checksum"),
                ),
                ("checksum_algorithm", models.CharField(default="sha256", editable=False, max_length=10)),
                (
                    "checksum_status",
                    models.CharField(
                        choices=[
                            ("unverified", "not verified yet"),
                            ("verified_by_storage", "checked by the store on arrival"),
                            ("verified", "checked by reading the stored bytes"),
                            ("corrupted", "the stored bytes are not the ones that were announced"),
                            ("missing", "nothing: the stored bytes are not there"),
                        ],
                        default="unverified",
                        editable=False,
                        max_length=20,
                        verbose_name="checksum status",
                    ),
                ),
                (
                    "refusal",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("archived", "in an archive of the storage, which has to restore it first"),
                            ("encrypted", "encrypted with a key that Amalga cannot use"),
                            ("denied", "denied by the storage"),
                        ],
                        db_default="",
                        default="",
                        editable=False,
                        max_length=9,
                        verbose_name="not given out by the storage",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False, verbose_name="started"
                    ),
                ),
                (
                    "updated_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False, verbose_name="changed"
                    ),
                ),
                ("available_at", models.DateTimeField(editable=False, null=True, verbose_name="added")),
                ("verified_at", models.DateTimeField(editable=False, null=True, verbose_name="read and checked")),
                ("expires_at", models.DateTimeField(editable=False, null=True, verbose_name="upload expires")),
                ("signed_until", models.DateTimeField(editable=False, null=True)),
                ("lease_until", models.DateTimeField(editable=False, null=True)),
                ("purge_after", models.DateTimeField(editable=False, null=True, verbose_name="purged after")),
                ("retry_at", models.DateTimeField(editable=False, null=True)),
                ("tries", models.PositiveSmallIntegerField(db_default=0, default=0, editable=False)),
                (
                    "owner",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="files",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="owner",
                    ),
                ),
                (
                    "uploaded_by",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="uploaded by",
                    ),
                ),
                (
                    "folder",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="files",
                        to="uploads.folder",
                        verbose_name="folder",
                    ),
                ),
            ],
            options={
                "verbose_name": "file",
                "verbose_name_plural": "files",
                "ordering": ["-created_at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="Grant",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "level",
                    models.PositiveSmallIntegerField(
                        choices=[(1, "view"), (2, "upload"), (3, "manage")], default=1, verbose_name="level"
                    ),
                ),
                (
                    "folder",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="grants", to="uploads.folder"
                    ),
                ),
                (
                    "group",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="auth.group"),
                ),
            ],
            options={
                "verbose_name": "access",
                "verbose_name_plural": "access",
            },
        ),
        migrations.AddField(
            model_name="folder",
            name="groups",
            field=models.ManyToManyField(related_name="+", through="uploads.Grant", to="auth.group"),
        ),
        migrations.CreateModel(
            name="Installation",
            fields=[
                ("number", models.PositiveSmallIntegerField(primary_key=True, serialize=False)),
                ("id", models.UUIDField(default=uuid.uuid4, editable=False)),
            ],
            options={
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("number", 1)), name="installation_singleton")
                ],
            },
        ),
        migrations.CreateModel(
            name="PartDigest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                ("sha256", models.CharField(max_length=44)),
                (
                    "file",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="part_digests", to="uploads.file"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Preview",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[("thumbnail", "thumbnail"), ("picture", "picture"), ("excerpt", "excerpt")],
                        max_length=9,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("pending", "being made"), ("ready", "ready"), ("failed", "cannot be made")],
                        default="pending",
                        max_length=7,
                    ),
                ),
                (
                    "key",
                    models.CharField(
                        db_collation="C",
                        default=uploads.models.content.new_preview_key,
                        editable=False,
                        max_length=34,
                        unique=True,
                    ),
                ),
                (
                    "store",
                    models.CharField(
                        blank=True, db_default="", default=uploads.models.file.main_store, editable=False, max_length=40
                    ),
                ),
                ("size", models.BigIntegerField(default=0)),
                ("width", models.PositiveIntegerField(default=0)),
                ("height", models.PositiveIntegerField(default=0)),
                ("reason", models.CharField(blank=True, default="", max_length=255)),
                ("lease_until", models.DateTimeField()),
                ("updated_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "file",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="previews", to="uploads.file"
                    ),
                ),
            ],
            options={
                "verbose_name": "preview",
                "verbose_name_plural": "previews",
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
                            ("succeeded", "agreed"),
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
                ("summary", models.JSONField(default=dict, verbose_name="statistics")),
            ],
            options={
                "verbose_name": "report",
                "verbose_name_plural": "reports",
                "ordering": ["-id"],
                "default_permissions": ("view",),
                "indexes": [models.Index(fields=["command", "-id"], name="report_by_command")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("outcome__in", ["running", "succeeded", "differences", "refused", "stopped"])
                        ),
                        name="report_outcome_valid",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Finding",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("missing", "the object of a file is not there"),
                            ("orphan", "an object without a file"),
                            ("size_mismatch", "an object of another size than its file"),
                            ("etag_mismatch", "an object with another ETag than its file"),
                            ("stuck", "a file that should have moved on"),
                            ("orphaned_multipart", "an upload in parts that belongs to no file"),
                            ("foreign", "a key in our part of the bucket that we did not make"),
                            ("corrupted", "the stored bytes are not the ones that were announced"),
                            ("failed", "could not be looked at"),
                        ],
                        max_length=18,
                        verbose_name="what",
                    ),
                ),
                ("key", models.CharField(db_collation="C", max_length=1024, verbose_name="key")),
                ("file_id", models.UUIDField(null=True, verbose_name="file")),
                ("detail", models.JSONField(default=dict, verbose_name="details")),
                ("repaired_by", models.CharField(blank=True, max_length=40, verbose_name="repaired by")),
                (
                    "report",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="findings",
                        to="uploads.report",
                        verbose_name="report",
                    ),
                ),
            ],
            options={
                "verbose_name": "finding",
                "verbose_name_plural": "findings",
                "ordering": ["id"],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Tag",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=50, verbose_name="name")),
                (
                    "normalized_name",
                    uploads.models.fields.NormalizedNameField(
                        db_collation="C", default="", editable=False, unique=True
                    ),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="created by",
                    ),
                ),
            ],
            options={
                "verbose_name": "tag",
                "verbose_name_plural": "tags",
                "ordering": ["normalized_name"],
            },
        ),
        migrations.CreateModel(
            name="Tagging",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "file",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="taggings", to="uploads.file"
                    ),
                ),
                (
                    "tag",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="taggings",
                        to="uploads.tag",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Usage",
            fields=[
                (
                    "owner",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="usage",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="owner",
                    ),
                ),
                ("bytes", models.BigIntegerField(default=0, verbose_name="bytes")),
                ("files", models.BigIntegerField(default=0, verbose_name="files")),
                ("folders", models.BigIntegerField(db_default=0, default=0, verbose_name="folders")),
                ("tags", models.BigIntegerField(db_default=0, default=0, verbose_name="tags")),
            ],
            options={
                "verbose_name": "usage",
                "verbose_name_plural": "usage",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("bytes__gte", 0), ("files__gte", 0)), name="usage_not_negative"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("folders__gte", 0), ("tags__gte", 0)),
                        name="usage_counts_not_negative",
                    ),
                ],
            },
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("current", True), ("state", "available")),
                fields=["-available_at", "-id"],
                name="file_newest",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("current", True), ("state", "available")),
                fields=["normalized_name", "id"],
                name="file_by_name",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("current", True), ("state", "available")),
                fields=["size", "id"],
                name="file_by_size",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("current", True), ("state", "available")),
                fields=["owner", "-available_at", "-id"],
                name="file_newest_by_owner",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("current", True), ("state", "available")),
                fields=["folder", "-available_at", "-id"],
                name="file_newest_by_folder",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("current", True), ("state", "available")),
                fields=["folder", "normalized_name", "id"],
                name="file_by_folder_name",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("current", True), ("state", "available")),
                fields=["folder", "size", "id"],
                name="file_by_folder_size",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("current", True), ("state", "available")),
                fields=["category", "size", "id"],
                name="file_by_category_size",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=django.contrib.postgres.indexes.GinIndex(
                condition=models.Q(("current", True), ("state", "available")),
                fields=["normalized_name"],
                name="file_name_trigrams",
                opclasses=["gin_trgm_ops"],
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("state", "available"), _negated=True),
                fields=["folder"],
                name="file_unlisted_by_folder",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("uploaded_by__isnull", False)),
                fields=["uploaded_by"],
                name="file_by_uploader",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(condition=models.Q(("series__isnull", False)), fields=["series"], name="file_by_series"),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("state", "trashed")), fields=["-purge_after", "-id"], name="file_trashed_by_purge"
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("state", "trashed")), fields=["normalized_name", "id"], name="file_trashed_by_name"
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("state", "trashed")), fields=["size", "id"], name="file_trashed_by_size"
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("state", "available"), _negated=True),
                fields=["state", "updated_at"],
                name="file_by_state",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("state__in", ["uploading", "completing"])),
                fields=["owner", "-created_at"],
                name="file_unfinished_by_owner",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(
                    ("checksum_status", "unverified"),
                    ("state", "available"),
                    models.Q(("checksum", ""), _negated=True),
                ),
                fields=["id"],
                name="file_unverified",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                models.OrderBy(models.F("verified_at"), nulls_first=True),
                models.F("id"),
                condition=models.Q(("state", "available")),
                name="file_by_verification",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("origin", "uploaded"), _negated=True), fields=["id"], name="file_imported"
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("checksum_status__in", ["corrupted", "missing"]), ("state", "available")),
                fields=["-available_at", "-id"],
                name="file_checksum_failed",
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.UniqueConstraint(fields=("owner", "token"), name="file_token_unique"),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.UniqueConstraint(
                condition=models.Q(("current", True), ("series__isnull", False)),
                fields=("series",),
                name="file_current_version_unique",
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("category__in", ["image", "video", "audio", "pdf", "document", "text", "archive", "other"])
                ),
                name="file_category_valid",
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(
                condition=models.Q(("current", True), ("series__isnull", False), _connector="OR"),
                name="file_version_has_series",
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.UniqueConstraint(fields=("key", "store"), name="file_key_unique"),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("key__regex", "^f/[0-9a-f]{32}$"), models.Q(("origin", "uploaded"), _negated=True), _connector="OR"
                ),
                name="file_key_valid",
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(
                condition=models.Q(("origin__in", ["uploaded", "imported", "adopted"])), name="file_origin_valid"
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(condition=models.Q(("size__gte", 0)), name="file_size_not_negative"),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(condition=models.Q(("part_size__gt", 0)), name="file_part_size_positive"),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(
                condition=models.Q(("name", ""), _negated=True), name="file_name_not_empty"
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["uploading", "completing", "available", "trashed", "deleting"])),
                name="file_state_valid",
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(
                condition=models.Q(("visibility__in", ["team", "private"])), name="file_visibility_valid"
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
                        (
                            "checksum_status__in",
                            ["unverified", "verified_by_storage", "verified", "corrupted", "missing"],
                        ),
                        ("available_at__isnull", False),
                        models.Q(
                            models.Q(("checksum", ""), _negated=True),
                            models.Q(("origin", "uploaded"), _negated=True),
                            _connector="OR",
                        ),
                    ),
                    _connector="OR",
                ),
                name="file_stored_has_metadata",
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "uploading"), _negated=True), ("expires_at__isnull", False), _connector="OR"
                ),
                name="file_uploading_has_expiry",
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "completing"), _negated=True),
                    models.Q(("lease_until__isnull", False), models.Q(("checksum", ""), _negated=True)),
                    _connector="OR",
                ),
                name="file_completing_has_lease",
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "trashed"), _negated=True), ("purge_after__isnull", False), _connector="OR"
                ),
                name="file_trashed_has_purge_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="grant",
            constraint=models.UniqueConstraint(fields=("folder", "group"), name="grant_unique"),
        ),
        migrations.AddConstraint(
            model_name="grant",
            constraint=models.CheckConstraint(condition=models.Q(("level__in", [1, 2, 3])), name="grant_level_valid"),
        ),
        migrations.AddIndex(
            model_name="folder",
            index=models.Index(fields=["parent", "normalized_name", "id"], name="folder_by_parent"),
        ),
        migrations.AddIndex(
            model_name="folder",
            index=django.contrib.postgres.indexes.GinIndex(fields=["path"], name="folder_by_path"),
        ),
        migrations.AddIndex(
            model_name="folder",
            index=django.contrib.postgres.indexes.GinIndex(
                fields=["normalized_name"], name="folder_name_trigrams", opclasses=["gin_trgm_ops"]
            ),
        ),
        migrations.AddConstraint(
            model_name="folder",
            constraint=models.UniqueConstraint(
                django.db.models.functions.comparison.Coalesce("parent", 0),
                models.F("name"),
                name="folder_name_unique",
            ),
        ),
        migrations.AddConstraint(
            model_name="folder",
            constraint=models.CheckConstraint(
                condition=models.Q(("name", ""), _negated=True), name="folder_name_not_empty"
            ),
        ),
        migrations.AddConstraint(
            model_name="partdigest",
            constraint=models.UniqueConstraint(fields=("file", "number"), name="part_digest_unique"),
        ),
        migrations.AddIndex(
            model_name="preview",
            index=models.Index(
                condition=models.Q(("state", "pending")), fields=["lease_until"], name="preview_by_lease"
            ),
        ),
        migrations.AddIndex(
            model_name="preview",
            index=models.Index(
                condition=models.Q(("state", "failed")), fields=["updated_at"], name="preview_failed_by_time"
            ),
        ),
        migrations.AddConstraint(
            model_name="preview",
            constraint=models.UniqueConstraint(fields=("file", "kind"), name="preview_kind_unique"),
        ),
        migrations.AddConstraint(
            model_name="preview",
            constraint=models.CheckConstraint(
                condition=models.Q(("key__regex", "^p/[0-9a-f]{32}$")), name="preview_key_valid"
            ),
        ),
        migrations.AddConstraint(
            model_name="preview",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["pending", "ready", "failed"])), name="preview_state_valid"
            ),
        ),
        migrations.AddConstraint(
            model_name="preview",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["thumbnail", "picture", "excerpt"])), name="preview_kind_valid"
            ),
        ),
        migrations.AddIndex(
            model_name="finding",
            index=models.Index(fields=["report", "kind", "id"], name="finding_by_report"),
        ),
        migrations.AddConstraint(
            model_name="finding",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "kind__in",
                        [
                            "missing",
                            "orphan",
                            "size_mismatch",
                            "etag_mismatch",
                            "stuck",
                            "orphaned_multipart",
                            "foreign",
                            "corrupted",
                            "failed",
                        ],
                    )
                ),
                name="finding_kind_valid",
            ),
        ),
        migrations.AddConstraint(
            model_name="tagging",
            constraint=models.UniqueConstraint(fields=("tag", "file"), name="tagging_unique"),
        ),
    ]
