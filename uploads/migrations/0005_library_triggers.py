"""What the database does by itself: a new folder knows its way up, the activity log takes nothing back, and
every change of files and tags is noted for the kept totals."""

from django.db import migrations

FOLDERS = """
CREATE FUNCTION uploads_folder_place() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE above uploads_folder;
BEGIN
    IF NEW.parent_id IS NOT NULL THEN
        -- waits for a move of the folder above, and then knows where it went
        SELECT * INTO above FROM uploads_folder WHERE id = NEW.parent_id FOR SHARE;
    END IF;
    NEW.path := coalesce(above.path, '{}') || NEW.id;
    NEW.governor_id := CASE WHEN NEW.restricted THEN NEW.id ELSE above.governor_id END;
    RETURN NEW;
END
$$;

CREATE TRIGGER uploads_folder_place BEFORE INSERT ON uploads_folder
    FOR EACH ROW EXECUTE FUNCTION uploads_folder_place();
"""

DROP_FOLDERS = """
DROP TRIGGER uploads_folder_place ON uploads_folder;
DROP FUNCTION uploads_folder_place();
"""

EVENTS = """
CREATE FUNCTION uploads_event_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the activity log is only added to' USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER uploads_event_refuse BEFORE UPDATE OR DELETE ON uploads_event
    FOR EACH STATEMENT EXECUTE FUNCTION uploads_event_refuse();
"""

DROP_EVENTS = """
DROP TRIGGER uploads_event_refuse ON uploads_event;
DROP FUNCTION uploads_event_refuse();
"""

# The same question about the rows before and after a statement; which of the two there are depends on the statement.
SIDE = """
    SELECT {sign} AS sign, size, owner_id, coalesce(folder_id, 0) AS folder_id, family,
        (coalesce(available_at, created_at) AT TIME ZONE 'UTC')::date AS day,
        CASE
            WHEN state = 'available' AND current THEN 'stored'
            WHEN state = 'available' THEN 'version'
            WHEN state = 'trashed' THEN 'trashed'
            ELSE 'unfinished'
        END AS status
    FROM {rows} WHERE state <> 'deleting'
"""

NOTE = """
CREATE FUNCTION uploads_file_note_{verb}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO uploads_change (kind, key, status, files, bytes)
    SELECT
        CASE
            WHEN grouping(owner_id) = 0 THEN 'owner'
            WHEN grouping(folder_id) = 0 THEN 'folder'
            WHEN grouping(family) = 0 THEN 'family'
            WHEN grouping(day) = 0 THEN 'day'
            ELSE 'total'
        END,
        coalesce(owner_id::text, folder_id::text, family, day::text, ''),
        status, sum(sign), sum(sign * size)
    FROM ({sides}) AS changed
    GROUP BY GROUPING SETS ((status), (owner_id, status), (folder_id, status), (family, status), (day, status))
    HAVING sum(sign) <> 0 OR sum(sign * size) <> 0;
    RETURN NULL;
END
$$;

CREATE TRIGGER uploads_file_note_{verb} AFTER {verb} ON uploads_file REFERENCING {tables}
    FOR EACH STATEMENT EXECUTE FUNCTION uploads_file_note_{verb}();
"""

DROP_NOTE = """
DROP TRIGGER uploads_file_note_{verb} ON uploads_file;
DROP FUNCTION uploads_file_note_{verb}();
"""

NOTE_TAG = """
CREATE FUNCTION uploads_tagging_note_{verb}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO uploads_change (kind, key, status, files, bytes)
    SELECT 'tag', tag_id::text, 'stored', {sign} * count(*), 0 FROM {rows} GROUP BY tag_id;
    RETURN NULL;
END
$$;

CREATE TRIGGER uploads_tagging_note_{verb} AFTER {verb} ON uploads_tagging REFERENCING {tables}
    FOR EACH STATEMENT EXECUTE FUNCTION uploads_tagging_note_{verb}();
"""

DROP_NOTE_TAG = """
DROP TRIGGER uploads_tagging_note_{verb} ON uploads_tagging;
DROP FUNCTION uploads_tagging_note_{verb}();
"""

BEFORE, AFTER = SIDE.format(sign=-1, rows="old_rows"), SIDE.format(sign=1, rows="new_rows")
OLD, NEW = "OLD TABLE AS old_rows", "NEW TABLE AS new_rows"
FILE_VERBS = [
    ("insert", AFTER, NEW),
    ("update", f"{BEFORE} UNION ALL {AFTER}", f"{OLD} {NEW}"),
    ("delete", BEFORE, OLD),
]
TAG_VERBS = [("insert", "1", "new_rows", NEW), ("delete", "-1", "old_rows", OLD)]


class Migration(migrations.Migration):
    dependencies = [("uploads", "0004_library")]

    operations = [
        migrations.RunSQL(FOLDERS, DROP_FOLDERS),
        migrations.RunSQL(EVENTS, DROP_EVENTS),
        *(
            migrations.RunSQL(NOTE.format(verb=verb, sides=sides, tables=tables), DROP_NOTE.format(verb=verb))
            for verb, sides, tables in FILE_VERBS
        ),
        *(
            migrations.RunSQL(
                NOTE_TAG.format(verb=verb, sign=sign, rows=rows, tables=tables), DROP_NOTE_TAG.format(verb=verb)
            )
            for verb, sign, rows, tables in TAG_VERBS
        ),
    ]
