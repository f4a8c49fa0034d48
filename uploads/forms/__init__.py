"""What people and programs send, cleaned: the pages' forms, the addresses of lists, and the protocol's JSON."""

from uploads.api.serializers import FinishUploadsSerializer, SignPartsSerializer, StartUploadsSerializer
from uploads.forms.fields import access_levels, folder_name, parse_id, parse_tags, read_file_name
from uploads.forms.listing import read_list_query
from uploads.forms.selection import Selection
from uploads.forms.upload import UploadForm

__all__ = [
    "FinishUploadsSerializer",
    "Selection",
    "SignPartsSerializer",
    "StartUploadsSerializer",
    "UploadForm",
    "access_levels",
    "folder_name",
    "parse_id",
    "parse_tags",
    "read_file_name",
    "read_list_query",
]
