"""What lists and searches go by. On a library that is full already this takes its time."""

import django.contrib.postgres.indexes
from django.db import migrations, models

# Which way Postgres reads a list depends on how many rows it expects for this folder, owner, tag or word. What it
# knows by default tells apart the hundred most common.
STATISTICS = """
ALTER TABLE uploads_file
    ALTER COLUMN folder_id SET STATISTICS 1000,
    ALTER COLUMN owner_id SET STATISTICS 1000,
    ALTER COLUMN folded SET STATISTICS 500;
ALTER TABLE uploads_tagging ALTER COLUMN tag_id SET STATISTICS 1000;
"""
FEWER_STATISTICS = """
ALTER TABLE uploads_file
    ALTER COLUMN folder_id SET STATISTICS -1,
    ALTER COLUMN owner_id SET STATISTICS -1,
    ALTER COLUMN folded SET STATISTICS -1;
ALTER TABLE uploads_tagging ALTER COLUMN tag_id SET STATISTICS -1;
"""


class Migration(migrations.Migration):
    dependencies = [("uploads", "0006_library_rows")]

    operations = [
        migrations.RemoveField(model_name="file", name="folder_text"),
        migrations.RunSQL(STATISTICS, FEWER_STATISTICS),
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
                fields=["folded", "id"],
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
                name="file_newest_of_owner",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("current", True), ("state", "available")),
                fields=["folder", "-available_at", "-id"],
                name="file_newest_in_folder",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("current", True), ("state", "available")),
                fields=["folder", "folded", "id"],
                name="file_by_name_in_folder",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("current", True), ("state", "available")),
                fields=["folder", "size", "id"],
                name="file_by_size_in_folder",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("current", True), ("state", "available")),
                fields=["family", "size", "id"],
                name="file_by_size_of_type",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("state", "trashed")), fields=["folded", "id"], name="file_trash_by_name"
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("state", "trashed")), fields=["size", "id"], name="file_trash_by_size"
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=django.contrib.postgres.indexes.GinIndex(
                condition=models.Q(("current", True), ("state", "available")),
                fields=["folded"],
                name="file_words",
                opclasses=["gin_trgm_ops"],
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("state", "available"), _negated=True),
                fields=["folder"],
                name="file_unlisted_in_folder",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("uploaded_by__isnull", False)),
                fields=["uploaded_by"],
                name="file_uploaded_for_others",
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(condition=models.Q(("series__isnull", False)), fields=["series"], name="file_versions"),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.UniqueConstraint(
                condition=models.Q(("current", True), ("series__isnull", False)),
                fields=("series",),
                name="file_has_one_current_version",
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("family__in", ["image", "video", "audio", "pdf", "document", "text", "archive", "other"])
                ),
                name="file_family_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(
                condition=models.Q(("current", True), ("series__isnull", False), _connector="OR"),
                name="file_version_is_of_a_file",
            ),
        ),
    ]
