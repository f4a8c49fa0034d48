"""Names in natural order: a column that triggers keep, and the indexes of lists over it.

Nothing here locks a table for longer than a moment: the column is added with a constant default, existing rows are
filled in batches, and indexes are built and dropped concurrently. If it is interrupted, run `migrate` again.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps
from django.db.models import Q

from uploads.models.fields import NaturalNameField

BATCH_SIZE = 5_000
TABLES = {"uploads_file": UUID(int=0), "uploads_folder": 0}  # with an id before the first

# The length of a number goes before its digits, as one character: 2 becomes `12`, 10 becomes `210`. In C because
# normalized names are compared byte by byte.
CREATE_FUNCTION = """
CREATE OR REPLACE FUNCTION uploads_natural_name(name text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    natural_name text := '';
    number text;
BEGIN
    LOOP
        number := substring(name COLLATE "C" FROM '[0-9]+');
        EXIT WHEN number IS NULL;
        natural_name := natural_name || left(name, strpos(name, number) - 1);
        name := substr(name, strpos(name, number) + length(number));
        number := ltrim(number, '0');
        natural_name := natural_name || chr(48 + length(number)) || number;
    END LOOP;
    RETURN natural_name || name;
END
$$;
"""

CREATE_TRIGGER = """
CREATE OR REPLACE FUNCTION {table}_set_natural_name() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.natural_name := uploads_natural_name(NEW.normalized_name);
    RETURN NEW;
END
$$;

DROP TRIGGER IF EXISTS {table}_set_natural_name ON {table};
CREATE TRIGGER {table}_set_natural_name BEFORE INSERT OR UPDATE OF normalized_name ON {table}
    FOR EACH ROW EXECUTE FUNCTION {table}_set_natural_name();
"""

DROP_TRIGGER = "DROP TRIGGER {table}_set_natural_name ON {table}; DROP FUNCTION {table}_set_natural_name();"

FILL_BATCH = """
WITH batch AS (SELECT id FROM {table} WHERE id > %s ORDER BY id LIMIT %s), updated AS (
    UPDATE {table} AS named SET natural_name = uploads_natural_name(normalized_name)
    FROM batch WHERE named.id = batch.id AND natural_name = ''
)
SELECT id FROM batch ORDER BY id DESC LIMIT 1
"""


def fill(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Fill the column of existing rows, each batch in a transaction of its own."""
    with schema_editor.connection.cursor() as cursor:
        for table, last in TABLES.items():
            row: tuple[Any, ...] | None = (last,)
            while row:
                cursor.execute(FILL_BATCH.format(table=table), [row[0], BATCH_SIZE])
                row = cursor.fetchone()


def index(name: str, *fields: str, condition: Q | None = None) -> models.Index:
    return models.Index(fields=[*fields, "natural_name", "id"], condition=condition, name=name)


LISTED = Q(("current", True), ("state", "available"))


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("uploads", "0016_folder_sizes")]

    operations = [
        migrations.RunSQL(CREATE_FUNCTION, "DROP FUNCTION uploads_natural_name"),
        migrations.AddField("file", "natural_name", NaturalNameField()),
        migrations.AddField("folder", "natural_name", NaturalNameField()),
        *(migrations.RunSQL(CREATE_TRIGGER.format(table=table), DROP_TRIGGER.format(table=table)) for table in TABLES),
        migrations.RunPython(fill, migrations.RunPython.noop),
        AddIndexConcurrently("file", index("file_by_natural_name", condition=LISTED)),
        AddIndexConcurrently("file", index("file_by_folder_natural_name", "folder", condition=LISTED)),
        AddIndexConcurrently("file", index("file_trashed_by_natural_name", condition=Q(("state", "trashed")))),
        AddIndexConcurrently("folder", index("folder_by_parent_natural_name", "parent")),
        AddIndexConcurrently(
            "folder",
            index(
                "folder_trashed_by_natural_name",
                condition=Q(("purge_after__isnull", False), ("removed_at__isnull", False)),
            ),
        ),
        migrations.AlterModelOptions(
            "folder", {"ordering": ["natural_name", "id"], "verbose_name": "folder", "verbose_name_plural": "folders"}
        ),
        RemoveIndexConcurrently("file", "file_by_name"),
        RemoveIndexConcurrently("file", "file_by_folder_name"),
        RemoveIndexConcurrently("file", "file_trashed_by_name"),
        RemoveIndexConcurrently("folder", "folder_by_parent"),
        RemoveIndexConcurrently("folder", "folder_trashed_by_name"),
    ]
