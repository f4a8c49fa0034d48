"""What models cannot say: triggers, planner statistics, and the table of Django's cache.

The state machine, the ancestors of a folder, the append-only audit log and the counters hold for raw SQL as well.
TRUNCATE fires none of these triggers: only the owner of a table can run it, and test databases are emptied by it.
"""

from django.db import migrations

# The same transitions as ALLOWED_TRANSITIONS in uploads/models/states.py; a test compares them.
GUARD_FILES = """
CREATE FUNCTION uploads_file_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.state <> 'deleting' THEN
            RAISE EXCEPTION 'a file row goes only after its object: state is %', OLD.state
                USING ERRCODE = 'check_violation';
        END IF;
        RETURN OLD;
    END IF;
    IF NEW.key <> OLD.key THEN
        RAISE EXCEPTION 'a file keeps its key' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('uploading', 'completing'),
        ('completing', 'available'),
        ('completing', 'uploading'),
        ('available', 'trashed'),
        ('trashed', 'available'),
        ('uploading', 'deleting'),
        ('completing', 'deleting'),
        ('trashed', 'deleting')
    ) THEN
        RAISE EXCEPTION 'a file does not go from % to %', OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER uploads_file_guard BEFORE UPDATE OF state, key OR DELETE ON uploads_file
    FOR EACH ROW EXECUTE FUNCTION uploads_file_guard();
"""

PLACE_FOLDERS = """
CREATE FUNCTION uploads_folder_set_path() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE above uploads_folder;
BEGIN
    IF NEW.parent_id IS NOT NULL THEN
        -- waits for a move of the folder above, and then knows where it went
        SELECT * INTO above FROM uploads_folder WHERE id = NEW.parent_id FOR SHARE;
    END IF;
    NEW.path := coalesce(above.path, '{}') || NEW.id;
    NEW.access_root_id := CASE WHEN NEW.restricted THEN NEW.id ELSE above.access_root_id END;
    RETURN NEW;
END
$$;

CREATE TRIGGER uploads_folder_set_path BEFORE INSERT ON uploads_folder
    FOR EACH ROW EXECUTE FUNCTION uploads_folder_set_path();
"""

REFUSE_EVENT_CHANGES = """
CREATE FUNCTION uploads_event_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the activity log is only added to' USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER uploads_event_append_only BEFORE UPDATE OR DELETE ON uploads_event
    FOR EACH STATEMENT EXECUTE FUNCTION uploads_event_append_only();
"""

# --- counters: once for each statement, from the rows before it (old_rows) and after it (new_rows) ---

COUNT = """
CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
{statement};
    RETURN NULL;
END
$$;

CREATE TRIGGER {name} AFTER {verb} ON {table} REFERENCING {rows}
    FOR EACH STATEMENT EXECUTE FUNCTION {name}();
"""

ROWS = {
    "insert": "NEW TABLE AS new_rows",
    "update": "OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "delete": "OLD TABLE AS old_rows",
}

# Recounting (uploads/services/recount.py) groups rows in the same way.
FILE_DELTAS = """
    INSERT INTO uploads_statisticdelta (kind, key, status, files, bytes)
    SELECT
        CASE
            WHEN grouping(owner_id) = 0 THEN 'owner'
            WHEN grouping(folder_id) = 0 THEN 'folder'
            WHEN grouping(category) = 0 THEN 'category'
            WHEN grouping(day) = 0 THEN 'day'
            ELSE 'total'
        END,
        coalesce(owner_id::text, folder_id::text, category, day::text, ''),
        status, sum(sign), sum(sign * size)
    FROM ({changed}) AS changed
    GROUP BY GROUPING SETS ((status), (owner_id, status), (folder_id, status), (category, status), (day, status))
    HAVING sum(sign) <> 0 OR sum(sign * size) <> 0"""

SIGNED_FILES = """
        SELECT {sign} AS sign, size, owner_id, coalesce(folder_id, 0) AS folder_id, category,
            (coalesce(available_at, created_at) AT TIME ZONE 'UTC')::date AS day,
            CASE
                WHEN state = 'available' AND current THEN 'stored'
                WHEN state = 'available' THEN 'version'
                WHEN state = 'trashed' THEN 'trashed'
                ELSE 'unfinished'
            END AS status
        FROM {rows} WHERE state <> 'deleting'
    """

REMOVED_FILES = SIGNED_FILES.format(sign=-1, rows="old_rows")
ADDED_FILES = SIGNED_FILES.format(sign=1, rows="new_rows")

TAG_DELTAS = """
    INSERT INTO uploads_statisticdelta (kind, key, status, files, bytes)
    SELECT 'tag', tag_id::text, 'stored', {sign} * count(*), 0 FROM {rows} GROUP BY tag_id"""

ADD_USAGE = """
    INSERT INTO uploads_usage AS usage (owner_id, files, bytes, {column})
    SELECT created_by_id, 0, 0, count(*) FROM new_rows WHERE created_by_id IS NOT NULL
    GROUP BY created_by_id ORDER BY created_by_id
    ON CONFLICT (owner_id) DO UPDATE SET {column} = usage.{column} + excluded.{column}"""

SUBTRACT_USAGE = """
    UPDATE uploads_usage AS usage SET {column} = greatest(0, usage.{column} - removed.count)
    FROM (SELECT created_by_id, count(*) FROM old_rows GROUP BY created_by_id) AS removed
    WHERE owner_id = created_by_id"""

# Name of function and trigger, table, and the statement to run after an INSERT, UPDATE or DELETE.
COUNTERS = [
    ("uploads_file_count_insert", "uploads_file", "insert", FILE_DELTAS.format(changed=ADDED_FILES)),
    (
        "uploads_file_count_update", "uploads_file", "update",
        FILE_DELTAS.format(changed=f"{REMOVED_FILES} UNION ALL {ADDED_FILES}"),
    ),
    ("uploads_file_count_delete", "uploads_file", "delete", FILE_DELTAS.format(changed=REMOVED_FILES)),
    ("uploads_tagging_count_insert", "uploads_tagging", "insert", TAG_DELTAS.format(sign=1, rows="new_rows")),
    ("uploads_tagging_count_delete", "uploads_tagging", "delete", TAG_DELTAS.format(sign=-1, rows="old_rows")),
    ("uploads_usage_count_folders_insert", "uploads_folder", "insert", ADD_USAGE.format(column="folders")),
    ("uploads_usage_count_folders_delete", "uploads_folder", "delete", SUBTRACT_USAGE.format(column="folders")),
    ("uploads_usage_count_tags_insert", "uploads_tag", "insert", ADD_USAGE.format(column="tags")),
    ("uploads_usage_count_tags_delete", "uploads_tag", "delete", SUBTRACT_USAGE.format(column="tags")),
]  # fmt: skip

# --- everything else ---

# Which plan Postgres chooses for a list depends on how many rows it expects for this folder, owner, tag or word. By
# default it knows the hundred most common values.
SET_STATISTICS = """
ALTER TABLE uploads_file
    ALTER COLUMN folder_id SET STATISTICS {ids},
    ALTER COLUMN owner_id SET STATISTICS {ids},
    ALTER COLUMN normalized_name SET STATISTICS {names};
ALTER TABLE uploads_tagging ALTER COLUMN tag_id SET STATISTICS {ids};
"""

# As `createcachetable` makes it; with CACHE_URL it stays empty.
CREATE_CACHE = """
CREATE TABLE uploads_cache (cache_key varchar(255) PRIMARY KEY, value text NOT NULL, expires timestamptz NOT NULL);
CREATE INDEX uploads_cache_expires ON uploads_cache (expires);
"""


def trigger(name: str, table: str, create: str) -> migrations.RunSQL:
    """Return the operation that creates, and drops, a trigger and its function of the same name."""
    return migrations.RunSQL(create, f"DROP TRIGGER {name} ON {table}; DROP FUNCTION {name}();")


class Migration(migrations.Migration):
    dependencies = [("uploads", "0001_initial")]

    operations = [
        trigger("uploads_file_guard", "uploads_file", GUARD_FILES),
        trigger("uploads_folder_set_path", "uploads_folder", PLACE_FOLDERS),
        trigger("uploads_event_append_only", "uploads_event", REFUSE_EVENT_CHANGES),
        *(
            trigger(name, table, COUNT.format(name=name, table=table, verb=verb, rows=ROWS[verb], statement=statement))
            for name, table, verb, statement in COUNTERS
        ),
        migrations.RunSQL(SET_STATISTICS.format(ids=1000, names=500), SET_STATISTICS.format(ids=-1, names=-1)),
        migrations.RunSQL(CREATE_CACHE, "DROP TABLE uploads_cache"),
    ]
