"""All access to storage: the only package of the app that imports boto3, botocore and storages.

It knows no models. A missing object is None, a denied request (403) is never treated as a missing object, and every
other failure is StorageUnavailable. No call is made inside a database transaction.
"""

from uploads.s3.bucket_listing import ObjectInfo, OpenMultipart, Page, head, list_multipart_uploads, list_objects
from uploads.s3.client import keeps_digests, needs_digests, preload, signs_payloads
from uploads.s3.copies import CopyTag, copy_tag, copy_within, put_file, put_part, quarantine
from uploads.s3.downloads import DownloadStorage, download_url, preview_url, reset
from uploads.s3.metadata_objects import (
    Checkpoint,
    put_checkpoint,
    read_checkpoint,
    read_marker,
    write_marker,
)
from uploads.s3.multipart import (
    UploadedPart,
    abort_multipart,
    complete_multipart,
    create_multipart,
    list_parts,
    multipart_ids,
    upload_part,
)
from uploads.s3.objects import (
    ObjectHead,
    delete,
    delete_many,
    head_and_sniff,
    object_tags,
    ping,
    put,
)
from uploads.s3.signing import URL_SECONDS, PresignedRequest, sign_part, sign_put
from uploads.s3.stores import Store, main_store, secondary_store
from uploads.s3.streams import (
    EtagMismatch,
    NoSuchObject,
    ObjectReader,
    RateLimiter,
    Stopped,
    Stream,
    read,
    read_start,
    require_readable,
    stream,
)

__all__ = [
    "URL_SECONDS",
    "Checkpoint",
    "CopyTag",
    "DownloadStorage",
    "EtagMismatch",
    "NoSuchObject",
    "ObjectHead",
    "ObjectInfo",
    "ObjectReader",
    "OpenMultipart",
    "Page",
    "PresignedRequest",
    "RateLimiter",
    "Stopped",
    "Store",
    "Stream",
    "UploadedPart",
    "abort_multipart",
    "complete_multipart",
    "copy_tag",
    "copy_within",
    "create_multipart",
    "delete",
    "delete_many",
    "download_url",
    "head",
    "head_and_sniff",
    "keeps_digests",
    "list_multipart_uploads",
    "list_objects",
    "list_parts",
    "main_store",
    "multipart_ids",
    "needs_digests",
    "object_tags",
    "ping",
    "preload",
    "preview_url",
    "put",
    "put_checkpoint",
    "put_file",
    "put_part",
    "quarantine",
    "read",
    "read_checkpoint",
    "read_marker",
    "read_start",
    "require_readable",
    "reset",
    "secondary_store",
    "sign_part",
    "sign_put",
    "signs_payloads",
    "stream",
    "upload_part",
    "write_marker",
]
