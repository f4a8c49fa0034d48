"""The verbs that touch the bucket and the rows. They know no request and no status code."""

from uploads.services.assemble import resolve
from uploads.services.content_encoding import learn_encoding
from uploads.services.downloads import note_download
from uploads.services.erase import erase
from uploads.services.finish import Finished, finish
from uploads.services.organise import (
    Outcome,
    move_files,
    rename,
    restore_many,
    set_visibility,
    tag_files,
    trash_many,
)
from uploads.services.preview_queue import preview_files, request_previews, tend_previews
from uploads.services.previews import REASONS, looks_of, make_previews
from uploads.services.readable import require_readable
from uploads.services.receive import Receiver
from uploads.services.remove import cancel, restore, trash
from uploads.services.sign import StoredPart, parts_of, sign_parts
from uploads.services.start import Started, start
from uploads.services.sweep import sweep
from uploads.services.verify import verify
from uploads.services.verify_queue import request_verification, tend_claims, verify_files
from uploads.services.versions import restore_version
from uploads.services.zips import Bundle, bundle, open_zip

__all__ = [
    "REASONS",
    "Bundle",
    "Finished",
    "Outcome",
    "Receiver",
    "Started",
    "StoredPart",
    "bundle",
    "cancel",
    "erase",
    "finish",
    "learn_encoding",
    "looks_of",
    "make_previews",
    "move_files",
    "note_download",
    "open_zip",
    "parts_of",
    "preview_files",
    "rename",
    "request_previews",
    "request_verification",
    "require_readable",
    "resolve",
    "restore",
    "restore_many",
    "restore_version",
    "set_visibility",
    "sign_parts",
    "start",
    "sweep",
    "tag_files",
    "tend_claims",
    "tend_previews",
    "trash",
    "trash_many",
    "verify",
    "verify_files",
]
