"""Find the files that have the names of new uploads, and the names that are free beside them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db.models import Q

from uploads.models import File, Folder
from uploads.models.querysets import FileQuerySet
from uploads.names import normalize_for_search, numbered
from uploads.services.tree import find

NUMBERS_PER_QUERY = (10, 100, 1_000)  # to try for a name; the next query is for names that have none of them free

Place = tuple[int | None, str]  # the id of a folder, None for the top level, and a name in it


@dataclass(frozen=True, slots=True)
class NameConflict:
    """The file that has the name of a new upload. The upload can become its new version if it is `replaceable`, or be
    added as `free_name`."""

    file: File
    replaceable: bool
    free_name: str


def find_conflicts(
    by: User, names: Sequence[tuple[str, str]], *, into: Folder | None = None
) -> list[NameConflict | None]:
    """Return for each folder path under `into` and name, both clean, the file that has this name there, or None.

    Files that this person cannot see do not count, and neither do names that differ in case. Of several files with one
    name, the newest that this person can change is returned.
    """
    folders = {path: folder.pk if folder else None for path, folder in find({path for path, _ in names}, into).items()}
    places = [(folders[path], name) if path in folders else None for path, name in names]
    visible = File.objects.listed_for(by)
    taken = {place for place in places if place}
    files = _files_at(visible, taken)
    if not files:
        return [None] * len(names)
    ids = [file.pk for rows in files.values() for file in rows]
    changeable = set(File.objects.changeable_by(by).filter(pk__in=ids).values_list("pk", flat=True))
    conflicting = [place for place in places if place in files]
    free_names = iter(_free_names(visible, conflicting, taken=taken))
    conflicts: list[NameConflict | None] = []
    for place in places:
        if place is None or place not in files:
            conflicts.append(None)
            continue
        file = max(files[place], key=lambda row: (row.pk in changeable, row.available_at or row.created_at))
        conflicts.append(NameConflict(file, file.pk in changeable, next(free_names)))
    return conflicts


def _files_at(visible: FileQuerySet, places: Collection[Place]) -> dict[Place, list[File]]:
    """Return the files at these places, with one query."""
    ids = {folder for folder, _name in places if folder is not None}
    inside = Q(folder__in=ids) if ids else Q()
    if any(folder is None for folder, _name in places):
        inside |= Q(folder__isnull=True)
    if not inside:
        return {}
    files: dict[Place, list[File]] = {}
    for file in visible.filter(inside, normalized_name__in={normalize_for_search(name) for _folder, name in places}):
        place = (file.folder_id, file.name)
        if place in places:
            files.setdefault(place, []).append(file)
    return files


def _free_names(visible: FileQuerySet, places: Sequence[Place], taken: set[Place]) -> list[str]:
    """Return for each of these places the name with the next free number; the name itself if too many are taken."""
    free_names = [""] * len(places)
    first = 1
    for count in NUMBERS_PER_QUERY:
        steps = range(first, first + count)
        first += count
        candidates = {
            index: [(folder, numbered(name, step)) for step in steps]
            for index, (folder, name) in enumerate(places)
            if not free_names[index]
        }
        taken = taken | _files_at(visible, {place for options in candidates.values() for place in options}).keys()
        for index, options in candidates.items():
            free = next((place for place in options if place not in taken), None)
            if free is not None:
                free_names[index] = free[1]
                taken.add(free)
        if all(free_names):
            break
    return [free or name for free, (_folder, name) in zip(free_names, places, strict=True)]
