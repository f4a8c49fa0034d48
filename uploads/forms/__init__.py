"""Parsing and validation of what pages send: forms, selections, and the query strings of lists."""

from uploads.forms.fields import (
    FolderField,
    FolderPickerForm,
    TagsField,
    UploadForm,
    UserForm,
    access_levels,
    allow_unchanged_folder,
    find_folder,
    first_error,
    folder_by_path,
    folder_name,
    parse_field,
    parse_file_name,
    parse_id,
    parse_tags,
)
from uploads.forms.links import FileRequestForm, GuestForm, ShareForm, SharePasswordForm, guest_details
from uploads.forms.listing import Selection, parse_list_query, read_list_query

__all__ = [
    "FileRequestForm",
    "FolderField",
    "FolderPickerForm",
    "GuestForm",
    "Selection",
    "ShareForm",
    "SharePasswordForm",
    "TagsField",
    "UploadForm",
    "UserForm",
    "access_levels",
    "allow_unchanged_folder",
    "find_folder",
    "first_error",
    "folder_by_path",
    "folder_name",
    "guest_details",
    "parse_field",
    "parse_file_name",
    "parse_id",
    "parse_list_query",
    "parse_tags",
    "read_list_query",
]
