"""Folders and tags count for who made them. Triggers keep the count, wherever a row comes from or goes."""

from __future__ import annotations

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

COUNT = """
INSERT INTO uploads_usage (owner_id, files, bytes, folders, tags)
SELECT created_by_id, 0, 0, count(*), 0 FROM uploads_folder WHERE created_by_id IS NOT NULL GROUP BY created_by_id
ON CONFLICT (owner_id) DO UPDATE SET folders = excluded.folders
"""

TRIGGERS = """
CREATE FUNCTION uploads_usage_count_{name}_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO uploads_usage AS usage (owner_id, files, bytes, {name})
    SELECT created_by_id, 0, 0, count(*) FROM new_rows WHERE created_by_id IS NOT NULL
    GROUP BY created_by_id ORDER BY created_by_id
    ON CONFLICT (owner_id) DO UPDATE SET {name} = usage.{name} + excluded.{name};
    RETURN NULL;
END
$$;

CREATE TRIGGER uploads_usage_count_{name}_insert AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION uploads_usage_count_{name}_insert();

CREATE FUNCTION uploads_usage_count_{name}_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE uploads_usage AS usage SET {name} = greatest(0, usage.{name} - gone.count)
    FROM (SELECT created_by_id, count(*) FROM old_rows GROUP BY created_by_id) AS gone
    WHERE owner_id = created_by_id;
    RETURN NULL;
END
$$;

CREATE TRIGGER uploads_usage_count_{name}_delete AFTER DELETE ON {table} REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION uploads_usage_count_{name}_delete();
"""

DROP = """
DROP TRIGGER uploads_usage_count_{name}_insert ON {table};
DROP FUNCTION uploads_usage_count_{name}_insert();
DROP TRIGGER uploads_usage_count_{name}_delete ON {table};
DROP FUNCTION uploads_usage_count_{name}_delete();
"""

COUNTED = [("folders", "uploads_folder"), ("tags", "uploads_tag")]


class Migration(migrations.Migration):
    dependencies = [("uploads", "0015_content_encoding"), migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.AddField(
            model_name="usage",
            name="folders",
            field=models.BigIntegerField(db_default=0, default=0, verbose_name="folders"),
        ),
        migrations.AddField(
            model_name="usage",
            name="tags",
            field=models.BigIntegerField(db_default=0, default=0, verbose_name="tags"),
        ),
        migrations.AddConstraint(
            model_name="usage",
            constraint=models.CheckConstraint(
                condition=models.Q(("folders__gte", 0), ("tags__gte", 0)), name="usage_counts_are_never_negative"
            ),
        ),
        migrations.AddField(
            model_name="tag",
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
        *(
            migrations.RunSQL(TRIGGERS.format(name=name, table=table), DROP.format(name=name, table=table))
            for name, table in COUNTED
        ),
        migrations.RunSQL(COUNT, migrations.RunSQL.noop),
    ]
