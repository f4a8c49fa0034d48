"""Counters of the team's files by folder, from which the lists compute the sizes of folders."""

from django.db import migrations, models

COUNT = """
CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO uploads_statisticdelta (kind, key, status, files, bytes)
    SELECT 'team', folder_id::text, 'stored', sum(sign), sum(sign * size) FROM ({changed}) AS changed
    GROUP BY folder_id HAVING sum(sign) <> 0 OR sum(sign * size) <> 0;
    RETURN NULL;
END
$$;

CREATE TRIGGER {name} AFTER {verb} ON uploads_file REFERENCING {rows}
    FOR EACH STATEMENT EXECUTE FUNCTION {name}();
"""

TEAM_FILES = """
    SELECT {sign} AS sign, size, coalesce(folder_id, 0) AS folder_id FROM {rows}
    WHERE state = 'available' AND current AND visibility = 'team' AND NOT quarantined"""

REMOVED, ADDED = TEAM_FILES.format(sign=-1, rows="old_rows"), TEAM_FILES.format(sign=1, rows="new_rows")

TRIGGERS = [
    ("insert", "NEW TABLE AS new_rows", ADDED),
    ("update", "OLD TABLE AS old_rows NEW TABLE AS new_rows", f"{REMOVED} UNION ALL {ADDED}"),
    ("delete", "OLD TABLE AS old_rows", REMOVED),
]

# The triggers lock the table against changes until the migration ends, so none is counted twice, or missed.
COUNT_ROWS = f"""
INSERT INTO uploads_statisticdelta (kind, key, status, files, bytes)
SELECT 'team', folder_id::text, 'stored', count(*), sum(size)
FROM ({TEAM_FILES.format(sign=1, rows="uploads_file")}) AS files GROUP BY folder_id;
"""  # noqa: S608

DELETE_COUNTS = """
DELETE FROM uploads_statistic WHERE kind = 'team';
DELETE FROM uploads_statisticdelta WHERE kind = 'team';
"""


def trigger(verb: str, rows: str, changed: str) -> migrations.RunSQL:
    name = f"uploads_file_count_team_{verb}"
    create = COUNT.format(name=name, verb=verb, rows=rows, changed=changed)
    return migrations.RunSQL(create, f"DROP TRIGGER {name} ON uploads_file; DROP FUNCTION {name}();")


class Migration(migrations.Migration):
    dependencies = [("uploads", "0015_folder_trash")]

    operations = [
        migrations.AlterField(
            model_name="statistic",
            name="kind",
            field=models.CharField(
                choices=[
                    ("total", "total"),
                    ("owner", "by owner"),
                    ("folder", "by folder"),
                    ("team", "by folder, files of the team"),
                    ("category", "by type"),
                    ("day", "by day"),
                    ("tag", "by tag"),
                ],
                max_length=8,
            ),
        ),
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                fields=["owner", "folder"],
                include=["size"],
                condition=models.Q(
                    models.Q(("current", True), ("state", "available")),
                    models.Q(("quarantined", True), ("visibility", "private"), _connector="OR"),
                ),
                name="file_hidden_by_owner",
            ),
        ),
        *(trigger(*parts) for parts in TRIGGERS),
        migrations.RunSQL(COUNT_ROWS, DELETE_COUNTS),
    ]
