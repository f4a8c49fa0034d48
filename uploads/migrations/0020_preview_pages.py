"""Previews of the pages of documents.

Nothing here locks the table for longer than a moment: the columns have constant defaults, the index is built
concurrently, and the constraint is validated while others write. If it is interrupted, run `migrate` again: each step
can be repeated, and the old constraint is dropped by the last statement. Processes of the previous version go on
working, and ignore the pages. It cannot be reversed while there are pages: delete their objects and rows first.
"""

from django.db import migrations, models

CHOICES = [("thumbnail", "thumbnail"), ("picture", "picture"), ("excerpt", "excerpt"), ("page", "page")]
KINDS = [kind for kind, _name in CHOICES]

ADD_COLUMNS = """
ALTER TABLE uploads_preview
    ADD COLUMN IF NOT EXISTS page smallint DEFAULT 1 NOT NULL, ADD COLUMN IF NOT EXISTS page_count integer
"""
DROP_COLUMNS = "ALTER TABLE uploads_preview DROP COLUMN page, DROP COLUMN page_count"
DROP_UNIQUE = "ALTER TABLE uploads_preview DROP CONSTRAINT IF EXISTS {name}"
ADD_UNIQUE = [
    "DROP INDEX CONCURRENTLY IF EXISTS {name}",  # an invalid one, of a run that was interrupted
    "CREATE UNIQUE INDEX CONCURRENTLY {name} ON uploads_preview ({columns})",
    "ALTER TABLE uploads_preview ADD CONSTRAINT {name} UNIQUE USING INDEX {name}",
]
REPLACE_KINDS = [
    """
    ALTER TABLE uploads_preview DROP CONSTRAINT IF EXISTS preview_kind_valid,
        ADD CONSTRAINT preview_kind_valid CHECK (kind IN ({kinds})) NOT VALID
    """,
    "ALTER TABLE uploads_preview VALIDATE CONSTRAINT preview_kind_valid",
]
OLD_UNIQUE = {"name": "preview_kind_unique", "columns": "file_id, kind"}
NEW_UNIQUE = {"name": "preview_page_unique", "columns": "file_id, kind, page"}


def replace(drop: dict[str, str], add: dict[str, str]) -> tuple[str, ...]:
    """Return the statements that add one constraint, and then drop the other."""
    again = DROP_UNIQUE.format(**add)
    return (again, *(statement.format(**add) for statement in ADD_UNIQUE), DROP_UNIQUE.format(**drop))


def allow(kinds: list[str]) -> tuple[str, ...]:
    names = ", ".join(f"'{kind}'" for kind in kinds)
    return tuple(statement.format(kinds=names) for statement in REPLACE_KINDS)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("uploads", "0019_file_contents")]

    operations = [
        migrations.RunSQL(
            ADD_COLUMNS,
            DROP_COLUMNS,
            state_operations=[
                migrations.AddField("preview", "page", models.SmallIntegerField(db_default=1, default=1)),
                migrations.AddField("preview", "page_count", models.IntegerField(null=True)),
                migrations.AlterField("preview", "kind", models.CharField(choices=CHOICES, max_length=9)),
            ],
        ),
        migrations.RunSQL(
            allow(KINDS),
            allow(KINDS[:-1]),
            state_operations=[
                migrations.RemoveConstraint("preview", "preview_kind_valid"),
                migrations.AddConstraint(
                    "preview",
                    models.CheckConstraint(condition=models.Q(("kind__in", KINDS)), name="preview_kind_valid"),
                ),
            ],
        ),
        migrations.RunSQL(
            replace(OLD_UNIQUE, NEW_UNIQUE),
            replace(NEW_UNIQUE, OLD_UNIQUE),
            state_operations=[
                migrations.AddConstraint(
                    "preview",
                    models.UniqueConstraint(fields=("file", "kind", "page"), name="preview_page_unique"),
                ),
                migrations.RemoveConstraint("preview", "preview_kind_unique"),
            ],
        ),
    ]
