"""The one door to the bucket: the only importer of boto3, botocore and storages.

Nothing here knows a row. "Not there" is None, a refusal (403) is never taken for "not there", and
whatever else goes wrong is StoreUnavailable. No call is made inside a database transaction.
"""

from uploads.s3.client import keeps_digests, needs_digests, signs_payloads
from uploads.s3.clock import CLOCK_KEY, Moment, read_clock, write_clock
from uploads.s3.copies import MOST_BYTES_AT_ONCE, Mark, copy_within, mark_of, put_file, put_part
from uploads.s3.delivery import DeliveryStorage, download_url, preview_url, reset
from uploads.s3.listing import Item, OpenMultipart, Page, head, list_objects, open_multiparts
from uploads.s3.marker import MARKER_KEY, read_marker, write_marker
from uploads.s3.multipart import (
    Listed,
    abort_multipart,
    complete_multipart,
    create_multipart,
    list_parts,
    multipart_ids,
    upload_part,
)
from uploads.s3.objects import Stored, create_bucket, delete, peek, put, require_answer
from uploads.s3.quarantine import QUARANTINE, set_aside
from uploads.s3.removal import delete_many
from uploads.s3.signing import URL_SECONDS, Signed, sign_part, sign_put
from uploads.s3.stores import Store, main_store, other_store
from uploads.s3.streams import Stream, beginning, read, require_readable, stream

__all__ = [
    "CLOCK_KEY",
    "MARKER_KEY",
    "MOST_BYTES_AT_ONCE",
    "QUARANTINE",
    "URL_SECONDS",
    "DeliveryStorage",
    "Item",
    "Listed",
    "Mark",
    "Moment",
    "OpenMultipart",
    "Page",
    "Signed",
    "Store",
    "Stored",
    "Stream",
    "abort_multipart",
    "beginning",
    "complete_multipart",
    "copy_within",
    "create_bucket",
    "create_multipart",
    "delete",
    "delete_many",
    "download_url",
    "head",
    "keeps_digests",
    "list_objects",
    "list_parts",
    "main_store",
    "mark_of",
    "multipart_ids",
    "needs_digests",
    "open_multiparts",
    "other_store",
    "peek",
    "preview_url",
    "put",
    "put_file",
    "put_part",
    "read",
    "read_clock",
    "read_marker",
    "require_answer",
    "require_readable",
    "reset",
    "set_aside",
    "sign_part",
    "sign_put",
    "signs_payloads",
    "stream",
    "upload_part",
    "write_clock",
    "write_marker",
]
