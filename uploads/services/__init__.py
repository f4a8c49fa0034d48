"""The verbs that touch the bucket and the rows. They know no request and no status code."""

from uploads.services.assemble import resolve
from uploads.services.finish import Finished, finish
from uploads.services.receive import Receiver
from uploads.services.remove import cancel, erase, restore, trash
from uploads.services.sign import StoredPart, parts_of, sign_parts
from uploads.services.start import Started, start
from uploads.services.sweep import sweep
from uploads.services.verify import verify

__all__ = [
    "Finished",
    "Receiver",
    "Started",
    "StoredPart",
    "cancel",
    "erase",
    "finish",
    "parts_of",
    "resolve",
    "restore",
    "sign_parts",
    "start",
    "sweep",
    "trash",
    "verify",
]
