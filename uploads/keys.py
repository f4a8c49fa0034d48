"""Keys of objects in the bucket: the prefix of each kind, and two single objects."""

import re

FILE_PREFIX = "f/"
PREVIEW_PREFIX = "p/"
ROW_PREFIXES = (FILE_PREFIX, PREVIEW_PREFIX)  # of keys that rows have, each followed by 32 random digits
QUARANTINE_PREFIX = "quarantine/"
MANIFEST_PREFIX = "manifests/"
OWN_PREFIXES = (*ROW_PREFIXES, QUARANTINE_PREFIX, MANIFEST_PREFIX)

FILE_KEY_PATTERN = rf"^{FILE_PREFIX}[0-9a-f]{{32}}$"
PREVIEW_KEY_PATTERN = rf"^{PREVIEW_PREFIX}[0-9a-f]{{32}}$"
ROW_KEY = re.compile(rf"(?:{FILE_PREFIX}|{PREVIEW_PREFIX})[0-9a-f]{{32}}")

MARKER_KEY = "amalga.json"  # names the installation that the bucket belongs to
CHECKPOINT_KEY = "amalga-checkpoint.json"  # the newest audit event that the bucket knows of
