"""Lists of files and folders: what somebody asked for, the rows that fit, and one page of them."""

from uploads.listing.asked import ADDED, SIZES, SORTS, Asked
from uploads.listing.confirmed import confirm
from uploads.listing.pages import ENTRIES_A_PAGE, Entry, Page, TooBroad, page_of
from uploads.listing.plain import is_plain, plain_page
from uploads.listing.rows import (
    COLUMNS,
    TRASH_COLUMNS,
    UNTOLD,
    as_path,
    files_for,
    folders_for,
    links_of,
    names_for,
    paths_for,
    trash_for,
)
from uploads.listing.spot import BadSpot, Spot
from uploads.listing.told import detail_told, folders_of, folders_told

__all__ = [
    "ADDED",
    "COLUMNS",
    "ENTRIES_A_PAGE",
    "SIZES",
    "SORTS",
    "TRASH_COLUMNS",
    "UNTOLD",
    "Asked",
    "BadSpot",
    "Entry",
    "Page",
    "Spot",
    "TooBroad",
    "as_path",
    "confirm",
    "detail_told",
    "files_for",
    "folders_for",
    "folders_of",
    "folders_told",
    "is_plain",
    "links_of",
    "names_for",
    "page_of",
    "paths_for",
    "plain_page",
    "trash_for",
]
