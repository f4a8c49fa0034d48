"""What people and programs send, cleaned: the page's form and the protocol's JSON."""

from uploads.forms.page import UploadForm
from uploads.forms.protocol import FilesToFinish, FilesToStart, PartsToSign

__all__ = ["FilesToFinish", "FilesToStart", "PartsToSign", "UploadForm"]
