"""Names are folded by other rules: strokes and ligatures go, the marks of kana and й stay. What is kept follows."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from django.apps.registry import Apps
from django.db import migrations, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from uploads.names import normalize_for_search

BATCH_SIZE = 2000
# ASCII folds as before
SELECT = """
SELECT id, name, folded FROM {table}
WHERE id > %s AND octet_length(name) > char_length(name) ORDER BY id LIMIT %s
"""
UPDATE = """
UPDATE {table} SET folded = new.folded
FROM unnest(%s::{type}[], %s::text[], %s::text[]) AS new (id, name, folded)
WHERE {table}.id = new.id AND {table}.name = new.name
"""
MERGE = """
INSERT INTO uploads_tagging (tag_id, file_id) SELECT %s, file_id FROM uploads_tagging WHERE tag_id = ANY(%s)
ON CONFLICT DO NOTHING
"""
USE = "SELECT tag_id, count(*) FROM uploads_tagging WHERE tag_id = ANY(%s) GROUP BY tag_id"


def fold_rows(table: str, id_type: str, first: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """In batches, each its own transaction, so that people can go on working. Safe to repeat."""
    after = first
    with schema_editor.connection.cursor() as cursor:
        while True:
            cursor.execute(SELECT.format(table=table), [after, BATCH_SIZE])
            rows = cursor.fetchall()
            if not rows:
                return
            after = rows[-1][0]
            changed = [(pk, name, new) for pk, name, folded in rows if (new := normalize_for_search(name)) != folded]
            if changed:
                cursor.execute(UPDATE.format(table=table, type=id_type), list(map(list, zip(*changed, strict=True))))


def fold_files(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    fold_rows("uploads_file", "uuid", "00000000-0000-0000-0000-000000000000", schema_editor)


def fold_folders(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    fold_rows("uploads_folder", "bigint", 0, schema_editor)


def fold_tags(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Tags that are one now, as `łódź` and `lodz`, become the one that is on most files."""
    Tag = apps.get_model("uploads", "Tag")
    with transaction.atomic(), schema_editor.connection.cursor() as cursor:
        cursor.execute("LOCK TABLE uploads_tag, uploads_tagging IN SHARE ROW EXCLUSIVE MODE")
        same = defaultdict(list)
        for tag in Tag.objects.order_by("id"):
            same[normalize_for_search(tag.name)].append(tag)
        kept = []
        for tags in same.values():
            if len(tags) > 1:
                cursor.execute(USE, [[tag.pk for tag in tags]])
                use = dict(cursor.fetchall())
                tags.sort(key=lambda tag: -use.get(tag.pk, 0))
                others = [tag.pk for tag in tags[1:]]
                cursor.execute(MERGE, [tags[0].pk, others])
                cursor.execute("DELETE FROM uploads_tagging WHERE tag_id = ANY(%s)", [others])
                cursor.execute("DELETE FROM uploads_tag WHERE id = ANY(%s)", [others])
            kept.append(tags[0])
        changed = [tag for tag in kept if normalize_for_search(tag.name) != tag.folded]
        for tag in changed:
            tag.folded = f"\1{tag.pk}"  # out of the way: one may become what another was
        Tag.objects.bulk_update(changed, ["folded"], batch_size=BATCH_SIZE)
        for tag in changed:
            tag.folded = normalize_for_search(tag.name)
        Tag.objects.bulk_update(changed, ["folded"], batch_size=BATCH_SIZE)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("uploads", "0016_count_folders_and_tags")]

    operations = [
        migrations.RunPython(fold_tags, migrations.RunPython.noop),
        migrations.RunPython(fold_folders, migrations.RunPython.noop),
        migrations.RunPython(fold_files, migrations.RunPython.noop),
    ]
