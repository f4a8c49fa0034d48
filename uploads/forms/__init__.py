"""What people and programs send, cleaned: the pages' forms, the addresses of lists, and the protocol's JSON."""

from uploads.forms.choice import Choice
from uploads.forms.listing import read_list
from uploads.forms.order import access_levels, folder_name, read_file_name, tag_names, whole_number
from uploads.forms.page import UploadForm
from uploads.forms.protocol import FilesToFinish, FilesToStart, PartsToSign

__all__ = [
    "Choice",
    "FilesToFinish",
    "FilesToStart",
    "PartsToSign",
    "UploadForm",
    "access_levels",
    "folder_name",
    "read_file_name",
    "read_list",
    "tag_names",
    "whole_number",
]
