"""Actions on objects and rows. Services do not depend on requests or HTTP."""

from uploads.services.downloads import record_download, require_readable
from uploads.services.erase import erase
from uploads.services.files import cancel, rename, restore_version
from uploads.services.finish import Finished, finish, resume_completion
from uploads.services.form_upload import StreamingUpload
from uploads.services.name_conflicts import NameConflict, find_conflicts
from uploads.services.previews import REASONS, kinds_for, make_pages, make_previews
from uploads.services.sign import StoredPart, parts_of, sign_parts
from uploads.services.start import Started, start
from uploads.services.stored_objects import fetch_encoding
from uploads.services.tasks import (
    preview_files,
    preview_pages,
    request_pages,
    request_previews,
    request_verification,
    requeue_lost_previews,
    requeue_lost_verifications,
    verify_files,
)
from uploads.services.zips import Bundle, bundle, open_zip

__all__ = [
    "REASONS",
    "Bundle",
    "Finished",
    "NameConflict",
    "Started",
    "StoredPart",
    "StreamingUpload",
    "bundle",
    "cancel",
    "erase",
    "fetch_encoding",
    "find_conflicts",
    "finish",
    "kinds_for",
    "make_pages",
    "make_previews",
    "open_zip",
    "parts_of",
    "preview_files",
    "preview_pages",
    "record_download",
    "rename",
    "request_pages",
    "request_previews",
    "request_verification",
    "requeue_lost_previews",
    "requeue_lost_verifications",
    "require_readable",
    "restore_version",
    "resume_completion",
    "sign_parts",
    "start",
    "verify_files",
]
