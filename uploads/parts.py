"""Part sizes and counts of an upload, and the checksum over its parts."""

import base64
import hashlib
from collections.abc import Iterable, Sequence

MIN_PART_BYTES = 5 * 1024**2  # of every part but the last (ibid.)
MAX_PARTS = 10_000  # S3 user guide, "Amazon S3 multipart upload limits"
SHA256_BYTES = 32


def part_size_for(size: int, *, smallest: int) -> int:
    """Return the bytes of every part but the last: `smallest`, doubled until at most 10,000 parts hold `size`."""
    part_size = smallest
    while size > part_size * MAX_PARTS:
        part_size *= 2
    return part_size


def part_count(size: int, part_size: int) -> int:
    """Return how many parts hold `size` bytes; an empty file has one empty part."""
    return max(1, -(-size // part_size))


def part_length(number: int, *, size: int, part_size: int) -> int:
    """Return the bytes of part `number`, counted from 1. Raises ValueError for a part that the file does not have."""
    if not 1 <= number <= part_count(size, part_size):
        raise ValueError(f"there is no part {number}")
    return min(part_size, size - (number - 1) * part_size)


def require_digest(text: object) -> str:
    """Return the base64 SHA-256 unchanged. Raises ValueError unless it is the base64 of exactly 32 bytes."""
    if not isinstance(text, str) or len(text) != 44:
        raise ValueError("not the base64 of a SHA-256")
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError("not the base64 of a SHA-256") from error
    if len(raw) != SHA256_BYTES or base64.b64encode(raw).decode() != text:
        raise ValueError("not the base64 of a SHA-256")
    return text


def checksum_of(digests: Sequence[str]) -> str:
    """Return the checksum that S3 gives an object whose parts have these base64 SHA-256 digests, in order.

    A single part is sent as a whole object, so its digest is the checksum. Several parts have S3's composite: the
    base64 SHA-256 over the joined raw digests, and `-N` (S3 user guide, "Checking object integrity").
    """
    if len(digests) == 1:
        return digests[0]
    joined = b"".join(base64.b64decode(digest) for digest in digests)
    return f"{encode_digest(hashlib.sha256(joined).digest())}-{len(digests)}"


def hex_checksum(checksum: str) -> str:
    """Return the hexadecimal form of a checksum of S3, without the number of its parts. What is no base64 stays."""
    try:
        return base64.b64decode(checksum.partition("-")[0], validate=True).hex()
    except ValueError:
        return checksum


def encode_digest(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def digest_of(body: bytes) -> str:
    """Return the base64 SHA-256 of one part."""
    return encode_digest(hashlib.sha256(body).digest())


class CompositeHash:
    """Computes the digests of a file's parts, and S3's checksum over them, while its bytes pass.

    `digests` has the base64 SHA-256 of every part so far. Given those of the first parts, hashing resumes after them.
    """

    def __init__(self, part_size: int, digests: Iterable[str] = ()) -> None:
        self.digests = list(digests)
        self._part_size = part_size
        self._part, self._missing = hashlib.sha256(), part_size

    @property
    def checksum(self) -> str:
        """The checksum of the whole file, after `finish`."""
        return checksum_of(self.digests)

    def update(self, chunk: bytes | memoryview) -> None:
        view = memoryview(chunk)
        while len(view) >= self._missing:
            self._part.update(view[: self._missing])
            view = view[self._missing :]
            self._end_part()
        if view:
            self._part.update(view)
            self._missing -= len(view)

    def finish(self) -> None:
        """End the last part, which can be shorter; an empty file has one empty part. Safe to repeat."""
        if self._missing < self._part_size or not self.digests:
            self._end_part()

    def _end_part(self) -> None:
        self.digests.append(encode_digest(self._part.digest()))
        self._part, self._missing = hashlib.sha256(), self._part_size
