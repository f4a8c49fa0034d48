"""Folders, tags, activity, kept totals and previews; what a folder was as text is kept aside for 0005."""

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.functions.comparison
import django.db.models.functions.datetime
from django.conf import settings
from django.contrib.postgres.operations import TrigramExtension
from django.db import migrations, models

import uploads.models.fields
import uploads.models.preview


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("uploads", "0003_roles"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        TrigramExtension(),
        migrations.CreateModel(
            name="Change",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=6)),
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
                        ],
                        max_length=12,
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
            },
        ),
        migrations.CreateModel(
            name="Figure",
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
                            ("family", "by type"),
                            ("day", "by day"),
                            ("tag", "by tag"),
                        ],
                        max_length=6,
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
                "verbose_name": "figure",
                "verbose_name_plural": "figures",
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Folder",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=255, verbose_name="name")),
                ("folded", uploads.models.fields.NormalizedNameField(db_collation="C", default="", editable=False)),
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
            ],
            options={
                "verbose_name": "folder",
                "verbose_name_plural": "folders",
                "ordering": ["folded", "id"],
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
            ],
            options={
                "verbose_name": "access",
                "verbose_name_plural": "access",
            },
        ),
        migrations.CreateModel(
            name="Preview",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "look",
                    models.CharField(
                        choices=[("thumbnail", "thumbnail"), ("picture", "picture"), ("excerpt", "excerpt")],
                        max_length=9,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("making", "being made"), ("ready", "ready"), ("failed", "cannot be made")],
                        default="making",
                        max_length=6,
                    ),
                ),
                (
                    "key",
                    models.CharField(
                        db_collation="C",
                        default=uploads.models.preview.new_preview_key,
                        editable=False,
                        max_length=34,
                        unique=True,
                    ),
                ),
                ("size", models.BigIntegerField(default=0)),
                ("width", models.PositiveIntegerField(default=0)),
                ("height", models.PositiveIntegerField(default=0)),
                ("reason", models.CharField(blank=True, default="", max_length=255)),
                ("lease_until", models.DateTimeField()),
                ("made_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "verbose_name": "preview",
                "verbose_name_plural": "previews",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Tag",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=50, verbose_name="name")),
                (
                    "folded",
                    uploads.models.fields.NormalizedNameField(
                        db_collation="C", default="", editable=False, unique=True
                    ),
                ),
            ],
            options={
                "verbose_name": "tag",
                "verbose_name_plural": "tags",
                "ordering": ["folded"],
            },
        ),
        migrations.CreateModel(
            name="Tagging",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ],
        ),
        migrations.RemoveIndex(
            model_name="file",
            name="file_newest",
        ),
        migrations.RemoveIndex(
            model_name="file",
            name="file_newest_of_owner",
        ),
        migrations.AddField(
            model_name="file",
            name="uploaded_by",
            field=models.ForeignKey(
                db_index=False,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
                verbose_name="uploaded by",
            ),
        ),
        migrations.AddField(
            model_name="file",
            name="current",
            field=models.BooleanField(default=True, editable=False),
        ),
        migrations.AddField(
            model_name="file",
            name="family",
            field=models.CharField(
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
        migrations.AddField(
            model_name="file",
            name="folded",
            field=uploads.models.fields.NormalizedNameField(db_collation="C", default="", editable=False),
        ),
        migrations.AddField(
            model_name="file",
            name="series",
            field=models.UUIDField(editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(
                condition=models.Q(("file_id__isnull", False)), fields=["file_id", "-id"], name="event_of_file"
            ),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["actor_id", "-id"], name="event_of_actor"),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["action", "-id"], name="event_of_action"),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["at"], name="event_at"),
        ),
        migrations.AddIndex(
            model_name="figure",
            index=models.Index(
                condition=models.Q(("kind", "day"), _negated=True),
                fields=["kind", "status", "-bytes"],
                name="figure_largest",
            ),
        ),
        migrations.AddField(
            model_name="folder",
            name="created_by",
            field=models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
                verbose_name="created by",
            ),
        ),
        migrations.AddField(
            model_name="folder",
            name="governor",
            field=models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="uploads.folder",
            ),
        ),
        migrations.AddField(
            model_name="folder",
            name="parent",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="children",
                to="uploads.folder",
            ),
        ),
        migrations.RenameField(model_name="file", old_name="folder", new_name="folder_text"),
        migrations.AddField(
            model_name="file",
            name="folder",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="files",
                to="uploads.folder",
                verbose_name="folder",
            ),
        ),
        migrations.AddField(
            model_name="grant",
            name="folder",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="grants", to="uploads.folder"
            ),
        ),
        migrations.AddField(
            model_name="grant",
            name="group",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="auth.group"),
        ),
        migrations.AddField(
            model_name="folder",
            name="groups",
            field=models.ManyToManyField(related_name="+", through="uploads.Grant", to="auth.group"),
        ),
        migrations.AddField(
            model_name="preview",
            name="file",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="previews", to="uploads.file"
            ),
        ),
        migrations.AddField(
            model_name="tagging",
            name="file",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="taggings", to="uploads.file"
            ),
        ),
        migrations.AddField(
            model_name="tagging",
            name="tag",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="taggings", to="uploads.tag"
            ),
        ),
        migrations.AddConstraint(
            model_name="grant",
            constraint=models.UniqueConstraint(fields=("folder", "group"), name="grant_is_one_for_a_group"),
        ),
        migrations.AddConstraint(
            model_name="grant",
            constraint=models.CheckConstraint(
                condition=models.Q(("level__in", [1, 2, 3])), name="grant_level_is_known"
            ),
        ),
        migrations.AddIndex(
            model_name="folder",
            index=models.Index(fields=["parent", "folded", "id"], name="folder_children"),
        ),
        migrations.AddIndex(
            model_name="folder",
            index=django.contrib.postgres.indexes.GinIndex(fields=["path"], name="folder_path"),
        ),
        migrations.AddIndex(
            model_name="folder",
            index=django.contrib.postgres.indexes.GinIndex(
                fields=["folded"], name="folder_words", opclasses=["gin_trgm_ops"]
            ),
        ),
        migrations.AddConstraint(
            model_name="folder",
            constraint=models.UniqueConstraint(
                django.db.models.functions.comparison.Coalesce("parent", 0),
                models.F("name"),
                name="folder_name_is_unique_among_siblings",
            ),
        ),
        migrations.AddConstraint(
            model_name="folder",
            constraint=models.CheckConstraint(
                condition=models.Q(("name", ""), _negated=True), name="folder_has_a_name"
            ),
        ),
        migrations.AddConstraint(
            model_name="preview",
            constraint=models.UniqueConstraint(fields=("file", "look"), name="preview_is_one_of_its_look"),
        ),
        migrations.AddConstraint(
            model_name="preview",
            constraint=models.CheckConstraint(
                condition=models.Q(("key__regex", "^p/[0-9a-f]{32}$")), name="preview_key_is_ours"
            ),
        ),
        migrations.AddConstraint(
            model_name="preview",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["making", "ready", "failed"])), name="preview_state_is_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="preview",
            constraint=models.CheckConstraint(
                condition=models.Q(("look__in", ["thumbnail", "picture", "excerpt"])), name="preview_look_is_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="tagging",
            constraint=models.UniqueConstraint(fields=("tag", "file"), name="tagging_is_made_once"),
        ),
    ]
