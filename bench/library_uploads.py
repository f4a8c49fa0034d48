"""What it costs the database to take a hundred small files into a library: `python -m bench.library_uploads`.

As JSON, a line to read. What is written is taken back.
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

from bench.library_make import MEMBER

FILES, RUNS = 100, 15
Done = TypeVar("Done")


class TakenBack(Exception):
    """Ends a transaction of which nothing is to stay."""


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amalga.settings")
    django.setup()
    took: dict[str, list[float]] = {"start": [], "claim": [], "publish": []}
    for _ in range(RUNS):
        _take_in(took)
    medians = ", ".join(f"{step} {statistics.median(times):.1f}" for step, times in took.items())
    json.dump([f"{FILES} small files into the large library, ms of the database and its caller: {medians}"], sys.stdout)


def _take_in(took: dict[str, list[float]]) -> None:
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
            started: Any = _timed(took["start"], lambda: services.start(owner, new))
            ids = [answer.file.pk for answer in started]
            _timed(took["claim"], lambda: File.objects.filter(pk__in=ids).acquire_lease())
            facts = {
                pk: ObjectMetadata("0" * 32, digest, ChecksumStatus.UNVERIFIED, "application/pdf", Category.PDF)
                for pk in ids
            }
            _timed(took["publish"], lambda: publish(facts))
            raise TakenBack
    except TakenBack:
        pass


def _timed(times: list[float], act: Callable[[], Done]) -> Done:
    begun = time.perf_counter()
    done = act()
    times.append((time.perf_counter() - begun) * 1000)
    return done


if __name__ == "__main__":
    main()
