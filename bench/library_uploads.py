"""Measure the upload of a hundred small files in the database: `python -m bench.library_uploads`.

Print a line as JSON. The uploads are rolled back.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import django

from bench.library_seed import MEMBER

FILES, RUNS = 100, 15
Result = TypeVar("Result")


class RollBack(Exception):
    """Raised to roll back a transaction."""


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amalga.settings")
    django.setup()
    times: dict[str, list[float]] = {"start": [], "acquire_lease": [], "publish": []}
    for _ in range(RUNS):
        _upload(times)
    medians = ", ".join(f"{step} {statistics.median(values):.1f}" for step, values in times.items())
    json.dump(
        [f"{FILES} small files into the large library, ms as measured by the client of the database: {medians}"],
        sys.stdout,
    )


def _upload(times: dict[str, list[float]]) -> None:
    from django.contrib.auth.models import User
    from django.db import transaction

    from uploads import services
    from uploads.models import Category, ChecksumStatus, File, ObjectMetadata, publish
    from uploads.services.start import NewUpload

    owner = User.objects.get(username=MEMBER)
    digest = "A" * 43 + "="
    new = [
        NewUpload(token=uuid.uuid4(), name=f"upload {number:03} invoice.pdf", size=10_240, sha256=digest)
        for number in range(FILES)
    ]
    try:
        with transaction.atomic():
            started: Any = _timed(times["start"], lambda: services.start(owner, new))
            ids = [upload.file.pk for upload in started]
            _timed(times["acquire_lease"], lambda: File.objects.filter(pk__in=ids).acquire_lease())
            metadata = {
                pk: ObjectMetadata("0" * 32, digest, ChecksumStatus.UNVERIFIED, "application/pdf", Category.PDF)
                for pk in ids
            }
            _timed(times["publish"], lambda: publish(metadata))
            raise RollBack
    except RollBack:
        pass


def _timed(times: list[float], function: Callable[[], Result]) -> Result:
    started = time.perf_counter()
    result = function()
    times.append((time.perf_counter() - started) * 1000)
    return result


if __name__ == "__main__":
    main()
