"""Fill an empty database with a synthetic library: `python -m bench.library_seed FILES`, into DATABASE_URL.

Rows are loaded with COPY, with triggers off and indexes disabled; then the indexes are rebuilt, and the statistics are
counted as `manage.py recount` counts them.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import django
import psycopg
from psycopg import sql

from bench import library_rows
from bench.library_names import common_words
from bench.library_rows import CHUNK, COLUMNS, NULL, TAGS, Library, chunk

OWNERS = 50
MEMBER, MANAGER, ROOT = "bench-member", "bench-manager", "bench-root"
MEMBER_RANK, MANAGER_RANK = 9, 3  # of the owners by their share: average users
GROUPS = ["board", "legal", "press", "staff", "studio"]
AHEAD = 6  # chunks waiting to be written, about 6 MiB each
SETTINGS = {"maintenance_work_mem": "1GB", "max_parallel_maintenance_workers": "2", "statement_timeout": "0"}


def main() -> None:
    files = int(sys.argv[1])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amalga.settings")
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    if seeded_files(os.environ["DATABASE_URL"]) == files:
        return
    library = Library(files, _people(), library_rows.now())
    with psycopg.connect(_superuser_url(), autocommit=True) as connection:
        for name, value in SETTINGS.items():
            connection.execute(sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
        _fill(connection, library)


def _superuser_url() -> str:
    """Return the URL of the same database for the role that can turn off triggers and indexes."""
    name = urlsplit(os.environ["DATABASE_URL"]).path
    return urlsplit(os.environ["LOCAL_SUPERUSER_URL"])._replace(path=name).geturl()


def seeded_files(url: str) -> int | None:
    """Return the number of files of the library in this database, or None if it is not complete."""
    with psycopg.connect(url) as connection:
        query = "SELECT obj_description(to_regclass('uploads_file'), 'pg_class')"
        row = connection.execute(query).fetchone()
    return int(row[0]) if row and row[0] else None


def _fill(connection: psycopg.Connection[Any], library: Library) -> None:
    with _step("folders and tags"):
        _write_folders(connection, library)
        _write_tags(connection)
    with _without_indexes(connection), _step("files, taggings, events, previews"):
        _write_chunks(connection, library)
    for table in COLUMNS:
        with _step(f"indexes of {table}"):
            connection.execute(sql.SQL("REINDEX TABLE {}").format(sql.Identifier(table)))
    with _step("statistics and usage"):
        _count(connection)
    with _step("VACUUM ANALYZE"):
        connection.execute("VACUUM ANALYZE")
    connection.execute(sql.SQL("COMMENT ON TABLE uploads_file IS {}").format(sql.Literal(str(library.files))))


def _people() -> list[tuple[int, str]]:
    """Create the owners, those with most files first; two of them and an administrator send the requests later."""
    from django.contrib.auth.models import Group, User

    names = [f"colleague-{number:02}" for number in range(OWNERS)]
    names[MEMBER_RANK], names[MANAGER_RANK] = MEMBER, MANAGER
    owners = User.objects.bulk_create(User(username=name, is_staff=name == MANAGER) for name in names)
    User.objects.create_superuser(ROOT)
    groups = [Group.objects.create(name=name) for name in GROUPS]
    uploaders, managers = Group.objects.get(name="uploaders"), Group.objects.get(name="managers")
    for number, owner in enumerate(owners):
        owner.groups.add(managers if owner.username == MANAGER else uploaders, groups[number % len(groups)])
    return [(owner.pk, owner.username) for owner in owners]


def _write_folders(connection: psycopg.Connection[Any], library: Library) -> None:
    columns = "id, parent_id, name, normalized_name, natural_name, path, restricted, access_root_id"
    with _without_triggers(connection), connection.cursor().copy(f"COPY uploads_folder ({columns}) FROM STDIN") as copy:
        for folder in library.tree.branches:
            parent = folder.path[-2] if len(folder.path) > 1 else NULL
            path = "{" + ",".join(map(str, folder.path)) + "}"
            rules = f"{'t' if folder.restricted else 'f'}\t{folder.access_root or NULL}"
            word = folder.word
            names = f"{word.name}\t{word.normalized_name}\t{word.natural_name}"
            copy.write(f"{folder.pk}\t{parent}\t{names}\t{path}\t{rules}\n")
    grant = """INSERT INTO uploads_grant (folder_id, group_id, level)
        SELECT %s, id, 2 FROM auth_group WHERE name = ANY(%s)"""
    for number, folder in enumerate(library.tree.restricted()):
        connection.execute(grant, [folder.pk, [GROUPS[number], GROUPS[(number + 1) % len(GROUPS)]]])


def _write_tags(connection: psycopg.Connection[Any]) -> None:
    words = list({word.normalized_name: word for word in common_words().items}.values())
    with connection.cursor().copy("COPY uploads_tag (id, name, normalized_name) FROM STDIN") as copy:
        for number in range(TAGS):
            word, turn = words[number % len(words)], number // len(words) + 1
            suffix = f" {turn}" if turn > 1 else ""
            copy.write(f"{number + 1}\t{word.name}{suffix}\t{word.normalized_name}{suffix}\n")


def _write_chunks(connection: psycopg.Connection[Any], library: Library) -> None:
    """Run one COPY per table in parallel; other processes create the lines, in order."""
    with ExitStack() as stack:
        copies = {}
        for table, columns in COLUMNS.items():
            writer = stack.enter_context(psycopg.connect(connection.info.dsn, password=connection.info.password))
            writer.execute("SET session_replication_role = replica")
            writer.execute("SET statement_timeout = 0")
            copies[table] = stack.enter_context(writer.cursor().copy(f"COPY {table} ({columns}) FROM STDIN"))
        for tables in _chunks(library):
            for table, data in tables.items():
                copies[table].write(data)


def _chunks(library: Library) -> Iterator[dict[str, bytes]]:
    global _shared
    _shared = library
    waiting: deque[Future[dict[str, bytes]]] = deque()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, library.files, CHUNK):
            waiting.append(pool.submit(_chunk, first))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


_shared: Library | None = None  # inherited by the forked processes


def _chunk(first: int) -> dict[str, bytes]:
    assert _shared is not None  # noqa: S101
    return chunk(_shared, first)


@contextmanager
def _without_indexes(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Disable the indexes of these tables until REINDEX rebuilds them."""
    connection.execute(
        "UPDATE pg_index SET indisready = false, indisvalid = false WHERE indrelid = ANY(%s::regclass[])",
        [list(COLUMNS)],
    )
    yield


@contextmanager
def _without_triggers(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Disable the triggers: what they would set is in the rows, and the statistics are counted later."""
    connection.execute("SET session_replication_role = replica")
    yield
    connection.execute("RESET session_replication_role")


def _count(connection: psycopg.Connection[Any]) -> None:
    from uploads.services.recount import recount

    recount(apply=True)
    for table in ("uploads_folder", "uploads_tag"):
        connection.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))")


@contextmanager
def _step(label: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"{label}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
