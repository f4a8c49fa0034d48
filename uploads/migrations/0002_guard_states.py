"""The database itself refuses what no code of ours should do: an illegal move, another key, an early DELETE.

TRUNCATE is not refused: it needs the rights of the table's owner, and empties test databases.
"""

from django.db import migrations

CREATE = """
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

DROP = """
DROP TRIGGER uploads_file_guard ON uploads_file;
DROP FUNCTION uploads_file_guard();
"""


class Migration(migrations.Migration):
    dependencies = [("uploads", "0001_initial")]

    operations = [migrations.RunSQL(CREATE, DROP)]
