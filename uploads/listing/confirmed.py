"""What a replica found, held against the primary."""

from __future__ import annotations

from uploads.listing.pages import SHOWN, Entry, Page
from uploads.models.folder import FolderQuerySet
from uploads.models.queries import FileQuerySet


def confirm(page: Page, *, files: FileQuerySet, folders: FolderQuerySet) -> None:
    """Let the primary have the last word on every row of the page: what is gone by now, or closed to this person, is
    left out, and the rest told as it is. The replica had the search and the order; this costs two looks by key.

    The link to the next page tells of its last row, so it goes too when that row does."""
    rows = files.filter(pk__in=[file.pk for file in page.files]).values_list(*SHOWN) if page.files else []
    entries = {row[0]: Entry(*row) for row in rows}
    known = folders.in_bulk([folder.pk for folder in page.folders]) if page.folders else {}
    end = page.end()
    page.files = [file for file in page.files if file.pk in entries]
    page.folders = [folder for folder in page.folders if folder.pk in known]
    if page.next and page.end() != end:
        page.next = page.end()
    page.files = [entries[file.pk] for file in page.files]
    page.folders = [known[folder.pk] for folder in page.folders]
