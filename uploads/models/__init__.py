"""The rows: files with their states, the digests announced for their parts, and what people have used."""

from uploads.models.file import File, PartClaim, new_key
from uploads.models.publish import Facts, publish
from uploads.models.states import SOURCES, Basis, State, Visibility
from uploads.models.usage import Usage

__all__ = [
    "SOURCES", "Basis", "Facts", "File", "PartClaim", "State", "Usage", "Visibility", "new_key", "publish",
]  # fmt: skip
