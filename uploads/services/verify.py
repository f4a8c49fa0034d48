"""Read stored bytes and hold them against the checksum of the row."""

from __future__ import annotations

import hashlib
import logging

from django.db.models.functions import Now

from uploads import s3
from uploads.models import Basis, File, State
from uploads.parts import checksum_of, encode_digest

logger = logging.getLogger(__name__)


def verify(file: File) -> Basis | None:
    """Read the whole object and settle what its checksum rests on: `read`, or `damaged`.

    None when the file is no longer available or its object is not there (which is left to be told,
    not to be mended, here). Raises StoreUnavailable. Safe to repeat; memory does not grow with size.
    """
    checksum = _read_checksum(file)
    if checksum is None:
        logger.error("object_missing file=%s", file.pk)
        return None
    basis = Basis.READ if checksum == file.checksum else Basis.DAMAGED
    rows = File.objects.filter(pk=file.pk, state=State.AVAILABLE, checksum=file.checksum)
    if not rows.update(checksum_basis=basis, verified_at=Now(), updated_at=Now()):
        return None
    file.checksum_basis = basis
    logger.log(
        logging.INFO if basis is Basis.READ else logging.ERROR,
        "file_verified file=%s basis=%s", file.pk, basis.value,
    )  # fmt: skip
    return basis


def _read_checksum(file: File) -> str | None:
    chunks = s3.read(file.key, store=file.store)
    if chunks is None:
        return None
    digests: list[str] = []
    part, room = hashlib.sha256(), file.part_size
    for chunk in chunks:
        view = memoryview(chunk)
        while len(view) >= room:
            part.update(view[:room])
            digests.append(encode_digest(part.digest()))
            view = view[room:]
            part, room = hashlib.sha256(), file.part_size
        part.update(view)
        room -= len(view)
    if room < file.part_size or not digests:
        digests.append(encode_digest(part.digest()))
    return checksum_of(digests)
