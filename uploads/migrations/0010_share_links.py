"""Share links, and folders that forbid them."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

from uploads.migrations._roles import grant


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("uploads", "0009_file_requests"),
    ]

    operations = [
        migrations.CreateModel(
            name="ShareLink",
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
                ("file", models.UUIDField(editable=False, null=True)),
                ("version", models.UUIDField(editable=False, null=True)),
                ("name", models.CharField(editable=False, max_length=255, verbose_name="name")),
                ("note", models.CharField(blank=True, max_length=1000, verbose_name="note")),
                ("password", models.CharField(blank=True, max_length=128, verbose_name="password")),
                (
                    "max_downloads",
                    models.PositiveIntegerField(blank=True, null=True, verbose_name="maximum number of downloads"),
                ),
                ("view_only", models.BooleanField(db_default=False, default=False, verbose_name="view only")),
                (
                    "created_by",
                    models.ForeignKey(
                        editable=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="created by",
                    ),
                ),
                (
                    "revoked_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="revoked by",
                    ),
                ),
                (
                    "folder",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="share_links",
                        to="uploads.folder",
                    ),
                ),
            ],
            options={
                "verbose_name": "share link",
                "verbose_name_plural": "share links",
                "ordering": ["-id"],
                "permissions": [("share_file", "Can share files"), ("view_all_links", "Can view all links")],
                "default_permissions": (),
                "indexes": [
                    models.Index(
                        condition=models.Q(("file__isnull", False)), fields=["file"], name="share_link_by_file"
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("file__isnull", True), ("folder__isnull", True), _connector="OR"),
                        name="share_link_one_target",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("version__isnull", True), ("file__isnull", False), _connector="OR"),
                        name="share_link_version_of_file",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("max_downloads__isnull", True),
                            ("use_count__lte", models.F("max_downloads")),
                            _connector="OR",
                        ),
                        name="share_link_downloads_limited",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ShareLinkFile",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("file", models.UUIDField(db_index=True)),
                (
                    "link",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="files", to="uploads.sharelink"
                    ),
                ),
            ],
            options={
                "default_permissions": (),
                "constraints": [models.UniqueConstraint(fields=("link", "file"), name="share_link_file_unique")],
            },
        ),
        migrations.AddField(
            model_name="folder",
            name="unshareable",
            field=models.BooleanField(db_default=False, default=False, verbose_name="no share links"),
        ),
        migrations.AddIndex(
            model_name="folder",
            index=models.Index(condition=models.Q(("unshareable", True)), fields=["id"], name="folder_unshareable"),
        ),
        grant(
            {
                "uploaders": ["share_file"],
                "managers": ["share_file", "view_all_links"],
                "administrators": ["share_file", "view_all_links"],
            }
        ),
    ]
