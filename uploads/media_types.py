"""Media types: canonical names, the category of each type, and which types are containers of others."""

from __future__ import annotations

import mimetypes
import posixpath
import re

# Aliases of other programs. The first name is that of IANA's registry, or else that of libmagic and browsers.
ALIASES = {
    "application/zip": ("application/x-zip", "application/x-zip-compressed"),
    "application/gzip": ("application/x-gzip", "application/gzip-compressed", "application/x-gunzip"),
    "application/vnd.rar": ("application/rar", "application/x-rar", "application/x-rar-compressed"),
    "application/x-7z-compressed": ("application/7z", "application/x-7z"),
    "application/x-bzip2": ("application/bzip2", "application/x-bzip", "application/x-bz2"),
    "application/zstd": ("application/x-zstd", "application/x-zstd-compressed"),
    "application/x-lz4": ("application/lz4",),
    "application/x-tar": ("application/tar",),
    "application/x-ole-storage": ("application/cdfv2", "application/x-cdf"),
    "application/x-ndjson": ("application/jsonl", "application/jsonlines", "application/x-jsonlines",
                             "application/ndjson", "application/json-lines"),
    "application/pdf": ("application/x-pdf",),
    "audio/aac": ("audio/x-hx-aac-adts", "audio/x-aac", "audio/aacp"),
    "image/jpeg": ("image/jpg", "image/pjpeg"),
    "image/png": ("image/x-png",),
    "image/heic": ("image/heic-sequence",),
    "image/heif": ("image/heif-sequence",),
    "image/svg+xml": ("image/svg",),
}  # fmt: skip
_CANONICAL_NAMES = {alias: name for name, aliases in ALIASES.items() for alias in aliases}

# Categories by the whole type, where its words would give another.
CATEGORIES = {
    "application/pdf": "pdf",
    "application/epub+zip": "document",
    "application/oxps": "document",
    "application/mp4": "video",
    "application/ogg": "audio",
    "application/vnd.apple.mpegurl": "text",
    "application/vnd.apple.installer+xml": "archive",
    "application/vnd.ms-asf": "video",
    "application/vnd.ms-fontobject": "other",
    "application/x-mpegurl": "text",
    "audio/mpegurl": "text",
    "audio/x-mpegurl": "text",
    "text/rtf": "document",
}
DOCUMENT_PREFIXES = tuple(
    f"application/{begin}"
    for begin in (
        "vnd.openxmlformats-officedocument.", "vnd.oasis.opendocument.", "vnd.sun.xml.", "vnd.ms-", "vnd.apple.",
        "vnd.visio", "vnd.lotus-", "vnd.wordperfect", "x-iwork-", "x-abiword", "x-hwp", "vnd.hancom.", "x-mspublisher",
    )
)  # fmt: skip
# Categories by the words of the subtype: `application/vnd.comicbook+zip` has the words vnd, comicbook and zip.
WORDS = {
    "archive": {
        "7z", "archive", "arj", "br", "brotli", "bzip", "bzip2", "cab", "cbr", "cbz", "comicbook", "compress",
        "compressed", "cpio", "debian", "deb", "diskimage", "gtar", "gzip", "iso9660", "kmz", "lha", "lrzip", "lz4",
        "lzh", "lzip", "lzma",
        "lzop", "rar", "rpm", "sit", "snappy", "squashfs", "stuffit", "stuffitx", "tar", "tgz", "ustar", "wim", "xar",
        "xpinstall", "xz", "zip", "zoo", "zst", "zstd",
    },
    "document": {"msword", "mswrite", "rtf", "postscript", "mobipocket", "ole", "wordperfect", "dvi", "onenote"},
    "text": {
        "awk", "csh", "csv", "desktop", "ecmascript", "graphql", "ini", "javascript", "json", "jsonl", "json5", "latex",
        "ldif", "mbox", "ndjson", "pem", "perl", "php", "pkcs10", "pgp", "python", "ruby", "setupscript", "sh",
        "shellscript", "sparql", "sql", "subrip", "tcl", "tex", "texinfo", "toml", "troff", "typescript", "xml", "yaml",
    },
}  # fmt: skip
_WORD = re.compile(r"[a-z0-9]+")

# Types that are built on a general container; those of zip besides the ones that end in `+zip`.
ZIP_DOCUMENTS = DOCUMENT_PREFIXES[:3]
ZIP_KINDS = {
    "application/java-archive", "application/x-java-archive", "application/vnd.android.package-archive",
    "application/x-xpinstall", "application/x-cbz", "application/vnd.google-earth.kmz", "application/vnd.apple.pages",
    "application/vnd.apple.numbers", "application/vnd.apple.keynote", "application/vnd.apple.installer+xml",
    "application/vnd.ms-xpsdocument", "application/oxps", "application/vnd.ms-visio.drawing",
    "application/vnd.visio", "model/3mf", "application/vnd.ms-package.3dmanufacturing-3dmodel+xml",
}  # fmt: skip
OLE_KINDS = {"application/msword", "application/vnd.visio", "application/x-msi", "application/x-mspublisher",
             "application/x-hwp"}  # fmt: skip
KINDS = {
    "video/mp4": {"audio/mp4", "audio/x-m4a", "video/x-m4v"},
    "video/webm": {"audio/webm"},
    "video/ogg": {"audio/ogg"},
    "application/ogg": {"audio/ogg", "video/ogg"},
    "video/x-ms-asf": {"audio/x-ms-wma", "video/x-ms-wmv"},
    "video/x-matroska": {"audio/x-matroska"},
    "image/tiff": {
        "image/x-adobe-dng",
        "image/x-canon-cr2",
        "image/x-nikon-nef",
        "image/x-pentax-pef",
        "image/x-samsung-srw",
        "image/x-sony-arw",
    },
}
# Extensions missing from Python's own table, which is used without the machine's files, so that all machines agree.
EXTENSIONS = {
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".odg": "application/vnd.oasis.opendocument.graphics",
    ".epub": "application/epub+zip",
    ".pages": "application/vnd.apple.pages",
    ".numbers": "application/vnd.apple.numbers",
    ".key": "application/vnd.apple.keynote",
    ".jar": "application/java-archive",
    ".apk": "application/vnd.android.package-archive",
    ".xpi": "application/x-xpinstall",
    ".cbz": "application/vnd.comicbook+zip",
    ".kmz": "application/vnd.google-earth.kmz",
    ".msg": "application/vnd.ms-outlook",
    ".msi": "application/x-msi",
    ".vsd": "application/vnd.visio",
    ".m4a": "audio/mp4",
    ".wma": "audio/x-ms-wma",
    ".weba": "audio/webm",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".dng": "image/x-adobe-dng",
    ".cr2": "image/x-canon-cr2",
    ".nef": "image/x-nikon-nef",
    ".pef": "image/x-pentax-pef",
    ".srw": "image/x-samsung-srw",
    ".arw": "image/x-sony-arw",
}
_PYTHON_TYPES = mimetypes.MimeTypes()
ZIP, OLE = "application/zip", "application/x-ole-storage"


def canonical(media_type: str) -> str:
    """Return the type in lower case, without parameters, and with aliases replaced by the first name."""
    bare = media_type.partition(";")[0].strip().lower()
    return _CANONICAL_NAMES.get(bare, bare)


def type_of_name(name: str) -> str:
    """Return the media type for the extension of a file name; empty if it is unknown."""
    extension = posixpath.splitext(name)[1].lower()
    return EXTENSIONS.get(extension) or _PYTHON_TYPES.guess_type(f"x{extension}")[0] or ""


def extension_of_type(media_type: str) -> str:
    """Return the extension of names of this media type, with its dot; empty if it is unknown."""
    return _PYTHON_TYPES.guess_extension(media_type) or ""


def category_of(media_type: str) -> str:
    """Return the category of a media type, one of the values of models.Category."""
    media_type = canonical(media_type)
    major, _, minor = media_type.partition("/")
    if media_type in CATEGORIES:
        return CATEGORIES[media_type]
    if major in {"image", "video", "audio", "text"}:
        return major
    if major == "message":
        return "text"
    if major != "application":
        return "other"
    words = set(_WORD.findall(minor))
    # The type of a spreadsheet may name the format that it is written in, and that of an archive its contents.
    if media_type.startswith(DOCUMENT_PREFIXES) and not words & WORDS["archive"]:
        return "document"
    return next((category for category in ("archive", "document", "text") if words & WORDS[category]), "other")


def is_kind_of(media_type: str, container: str) -> bool:
    """Return whether files of this type are built on the container, as a text document is on zip."""
    if container == ZIP:
        is_office = media_type.startswith(ZIP_DOCUMENTS) or media_type.endswith(("+zip", ".macroenabled.12"))
        return is_office or media_type in ZIP_KINDS
    if container == OLE:
        is_office = media_type.startswith("application/vnd.ms-") and not media_type.endswith(".macroenabled.12")
        return (is_office and category_of(media_type) == "document") or media_type in OLE_KINDS
    return media_type in KINDS.get(container, set())


def containers_of(media_type: str) -> set[str]:
    """Return the containers whose refusal refuses this type too. None for documents."""
    if category_of(media_type) == "document":
        return set()
    return {container for container in (ZIP, OLE, *KINDS) if is_kind_of(media_type, container)}
