"""Lists of files and folders: queries, matching rows, and pagination."""

from uploads.listing.cursor import Cursor, InvalidCursor
from uploads.listing.folder_sizes import FolderSize, load_folder_sizes
from uploads.listing.marks import FolderRights, Marks, load_marks, load_rights
from uploads.listing.pagination import (
    PAGE_SIZE,
    ListRow,
    Neighbors,
    Page,
    SearchTooBroad,
    neighbors,
    paginate,
    search_timeout,
)
from uploads.listing.query import AGE_FILTERS, SHOW_FILTERS, SIZE_FILTERS, SORTS, ListQuery, time_ago
from uploads.listing.redaction import redact_detail, referenced_folders, visible_folder_ids
from uploads.listing.selectors import (
    COLUMNS,
    HIDDEN_NAME,
    TRASH_COLUMNS,
    Sidebar,
    as_path,
    breadcrumbs_for,
    files_for,
    folders_for,
    load_sidebar,
    name_steps,
    paths_for,
    public_ids,
    trash_for,
)

__all__ = [
    "AGE_FILTERS",
    "COLUMNS",
    "HIDDEN_NAME",
    "PAGE_SIZE",
    "SHOW_FILTERS",
    "SIZE_FILTERS",
    "SORTS",
    "TRASH_COLUMNS",
    "Cursor",
    "FolderRights",
    "FolderSize",
    "InvalidCursor",
    "ListQuery",
    "ListRow",
    "Marks",
    "Neighbors",
    "Page",
    "SearchTooBroad",
    "Sidebar",
    "as_path",
    "breadcrumbs_for",
    "files_for",
    "folders_for",
    "load_folder_sizes",
    "load_marks",
    "load_rights",
    "load_sidebar",
    "name_steps",
    "neighbors",
    "paginate",
    "paths_for",
    "public_ids",
    "redact_detail",
    "referenced_folders",
    "search_timeout",
    "time_ago",
    "trash_for",
    "visible_folder_ids",
]
