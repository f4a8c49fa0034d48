"""What may be uploaded: limits, quotas and retention, share links and file requests, and the malware check."""

from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from amalga.settings.base import cookie_name
from amalga.settings.env import boolean, choice, integer, string, string_list, validated

MIB = 1024**2
S3_SMALLEST_PART = 5 * MIB  # S3 user guide, "Amazon S3 multipart upload limits"
S3_LARGEST_PART = 5 * 1024**3
S3_LARGEST_OBJECT = 10_000 * S3_LARGEST_PART

UPLOAD_PART_BYTES = integer("UPLOAD_PART_BYTES", 16 * MIB, minimum=S3_SMALLEST_PART, maximum=S3_LARGEST_PART)
UPLOAD_MAX_BYTES = integer("UPLOAD_MAX_BYTES", 5 * 1024**4, minimum=1, maximum=S3_LARGEST_OBJECT)
UPLOAD_QUOTA_BYTES = integer("UPLOAD_QUOTA_BYTES", 10 * 1024**4, minimum=1, maximum=2**62)
UPLOAD_QUOTA_FILES = integer("UPLOAD_QUOTA_FILES", 1_000_000, minimum=1, maximum=2**62)
UPLOAD_QUOTA_FOLDERS = integer("UPLOAD_QUOTA_FOLDERS", 100_000, minimum=1, maximum=2**62)
UPLOAD_QUOTA_TAGS = integer("UPLOAD_QUOTA_TAGS", 10_000, minimum=1, maximum=2**62)
UPLOAD_EXPIRY_HOURS = integer("UPLOAD_EXPIRY_HOURS", 7 * 24, minimum=1, maximum=90 * 24)
if UPLOAD_MAX_BYTES > UPLOAD_QUOTA_BYTES and string("UPLOAD_MAX_BYTES") and string("UPLOAD_QUOTA_BYTES"):
    raise ImproperlyConfigured(
        f"UPLOAD_MAX_BYTES ({UPLOAD_MAX_BYTES}) must not be larger than UPLOAD_QUOTA_BYTES ({UPLOAD_QUOTA_BYTES})."
    )
# the last extension of a name, or a media type
UPLOAD_REFUSED_TYPES = [
    validated(
        "UPLOAD_REFUSED_TYPES",
        word.lower(),
        r"\.[^./\s]+|[\w.+-]+/([\w.+-]+|\*)",
        expected="extensions or media types like .exe or video/*, separated by commas",
    )
    for word in string_list("UPLOAD_REFUSED_TYPES")
]
TRASH_RETENTION_DAYS = integer("TRASH_RETENTION_DAYS", 30, minimum=0, maximum=3650)
# Pauses expiry and deletion, for example to examine a restored backup.
PURGE_PAUSED = boolean("PURGE_PAUSED", default=False)

# Whether searches look into the text of documents, which the worker reads.
CONTENT_SEARCH = boolean("CONTENT_SEARCH", default=False)

# Share links: in general, and for how many days they work: by default, and at most (0: without limit).
SHARE_LINKS = boolean("SHARE_LINKS", default=True)
SHARE_LINK_MAX_DAYS = integer("SHARE_LINK_MAX_DAYS", 365, minimum=0, maximum=3650)
SHARE_LINK_DAYS = integer(
    "SHARE_LINK_DAYS", min(30, SHARE_LINK_MAX_DAYS or 30), minimum=1, maximum=SHARE_LINK_MAX_DAYS or 3650
)

DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * MIB  # completing a file of 10,000 parts sends half a MiB of checksums
DATA_UPLOAD_MAX_NUMBER_FILES = 100
# Only the upload form accepts files, with its own handler.
FILE_UPLOAD_HANDLERS = ["uploads.views.form_upload.RejectFilesHandler"]


# --- file requests, with which people without an account upload files ------------------------------


FILE_REQUEST_MAX_DAYS = integer("FILE_REQUEST_MAX_DAYS", 365, minimum=1, maximum=3650)
FILE_REQUEST_DAYS = integer(
    "FILE_REQUEST_DAYS", min(30, FILE_REQUEST_MAX_DAYS), minimum=1, maximum=FILE_REQUEST_MAX_DAYS
)
# Not __Host-, which would need the path /: these cookies are for the paths of one link.
SHARE_COOKIE_NAME = cookie_name("amalga-share", prefix="__Secure-")
GUEST_COOKIE_NAME = cookie_name("amalga-guest", prefix="__Secure-")


# --- malware check of uploads ----------------------------------------------------------------------


CLAMD_PORT = 3310


def scanner(name: str) -> str:
    """Return `guardduty`, or the address of clamd as `host:port` or as the path of its socket; empty for none.

    Error messages leave out the URL, which can contain a password by mistake.
    """
    text = string(name)
    if text in {"", "guardduty"}:
        return text
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port or CLAMD_PORT
    except ValueError:
        parts, host, port = None, None, 0
    if parts is not None and parts.scheme == "clamd" and not parts.query and not parts.fragment and "@" not in text:
        if host and parts.path in {"", "/"}:
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if not parts.netloc and len(parts.path) > 1:
            return parts.path
    raise ImproperlyConfigured(f"{name} must be clamd://host:3310, clamd:///path/to/socket, or guardduty.")


# Which uploads are checked: none, those of guests of file requests, or all.
MALWARE_SCAN = choice("MALWARE_SCAN", "off", "off", "requests", "all")
MALWARE_SCANNER = scanner("MALWARE_SCANNER")
# What happens to files that cannot be checked: they are held, or they pass.
MALWARE_SCANNER_UNAVAILABLE = choice("MALWARE_SCANNER_UNAVAILABLE", "hold", "hold", "pass")
if MALWARE_SCAN != "off" and not MALWARE_SCANNER:
    raise ImproperlyConfigured(f"MALWARE_SCAN={MALWARE_SCAN} needs MALWARE_SCANNER, which is not set.")
