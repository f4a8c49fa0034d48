"""Lists of files and folders: queries, matching rows, and pagination."""

from uploads.listing.cursor import Cursor, InvalidCursor
from uploads.listing.folder_sizes import FolderSize, load_folder_sizes
from uploads.listing.marks import (
    HIDDEN_NAME,
    FolderRights,
    Marks,
    as_path,
    breadcrumbs_for,
    load_marks,
    paths_for,
    restricted_folders,
    row_rights,
)
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
    TRASH_COLUMNS,
    Sidebar,
    files_for,
    folders_for,
    load_sidebar,
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
    "load_sidebar",
    "neighbors",
    "paginate",
    "paths_for",
    "public_ids",
    "redact_detail",
    "referenced_folders",
    "restricted_folders",
    "row_rights",
    "search_timeout",
    "time_ago",
    "trash_for",
    "visible_folder_ids",
]
