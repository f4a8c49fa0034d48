"""Rows that were there before: their folders become a tree, their names can be searched, their totals are kept."""

from __future__ import annotations

from typing import Any

from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from uploads.media_types import category_of
from uploads.names import normalize_for_search

BATCH = 2000
NEW_RIGHTS = {
    "viewers": ["view_folder", "view_tag"],
    "uploaders": ["view_folder", "view_tag"],
    "managers": ["view_folder", "add_folder", "change_folder", "view_tag", "add_tag", "change_tag", "delete_tag",
                 "view_event", "view_figure"],
}  # fmt: skip

# as the triggers of 0005 count
COUNT = """
INSERT INTO uploads_figure (kind, key, status, files, bytes)
SELECT
    CASE
        WHEN grouping(owner_id) = 0 THEN 'owner'
        WHEN grouping(folder_id) = 0 THEN 'folder'
        WHEN grouping(family) = 0 THEN 'family'
        WHEN grouping(day) = 0 THEN 'day'
        ELSE 'total'
    END,
    coalesce(owner_id::text, folder_id::text, family, day::text, ''),
    status, count(*), sum(size)
FROM (
    SELECT size, owner_id, coalesce(folder_id, 0) AS folder_id, family,
        (coalesce(available_at, created_at) AT TIME ZONE 'UTC')::date AS day,
        CASE
            WHEN state = 'available' AND current THEN 'stored'
            WHEN state = 'available' THEN 'version'
            WHEN state = 'trashed' THEN 'trashed'
            ELSE 'unfinished'
        END AS status
    FROM uploads_file WHERE state <> 'deleting'
) AS counted
GROUP BY GROUPING SETS ((status), (owner_id, status), (folder_id, status), (family, status), (day, status))
"""


def plant_folders(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    File: Any = apps.get_model("uploads", "File")
    Folder: Any = apps.get_model("uploads", "Folder")
    texts = File.objects.exclude(folder_text="").values_list("folder_text", flat=True).distinct()
    for text in sorted(texts):
        parent = None
        for name in text.split("/"):
            folded = normalize_for_search(name)
            parent, _new = Folder.objects.get_or_create(parent=parent, name=name, defaults={"folded": folded})
        File.objects.filter(folder_text=text).update(folder=parent)


def fold_names(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    File = apps.get_model("uploads", "File")
    rows = File.objects.only("name", "detected_type", "claimed_type").iterator(chunk_size=BATCH)
    batch = []
    for file in rows:
        file.folded, file.family = normalize_for_search(file.name), category_of(file.detected_type or file.claimed_type)
        batch.append(file)
        if len(batch) == BATCH:
            File.objects.bulk_update(batch, ["folded", "family"])
            batch = []
    if batch:
        File.objects.bulk_update(batch, ["folded", "family"])


def grant_rights(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    config = apps.get_app_config("uploads")
    config.models_module = True  # type: ignore[assignment]
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    Group, Permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for name, codenames in NEW_RIGHTS.items():
        found = Permission.objects.filter(content_type__app_label="uploads", codename__in=codenames)
        for group in Group.objects.filter(name=name):
            group.permissions.add(*found)


class Migration(migrations.Migration):
    dependencies = [("uploads", "0005_library_triggers")]

    operations = [
        migrations.RunPython(plant_folders, migrations.RunPython.noop),
        migrations.RunPython(fold_names, migrations.RunPython.noop),
        migrations.RunSQL("DELETE FROM uploads_change", migrations.RunSQL.noop),
        migrations.RunSQL(COUNT, "DELETE FROM uploads_figure"),
        migrations.RunPython(grant_rights, migrations.RunPython.noop),
    ]
