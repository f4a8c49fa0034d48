"""Lists of files and folders: what somebody asked for, the rows that fit, and one page of them."""

from uploads.listing.asked import ADDED, SIZES, SORTS, Asked
from uploads.listing.pages import ENTRIES_A_PAGE, Entry, Page, TooBroad, page_of
from uploads.listing.rows import COLUMNS, TRASH_COLUMNS, files_for, folders_for, links_of, names_for, trash_for
from uploads.listing.spot import BadSpot, Spot
from uploads.listing.told import detail_told, folders_of, folders_told

__all__ = [
    "ADDED",
    "COLUMNS",
    "ENTRIES_A_PAGE",
    "SIZES",
    "SORTS",
    "TRASH_COLUMNS",
    "Asked",
    "BadSpot",
    "Entry",
    "Page",
    "Spot",
    "TooBroad",
    "detail_told",
    "files_for",
    "folders_for",
    "folders_of",
    "folders_told",
    "links_of",
    "names_for",
    "page_of",
    "trash_for",
]
