"""Objects that came after the moment that a database was restored to: files again, for somebody to look through."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from django.contrib.auth.models import User
from django.db import transaction

from uploads import s3
from uploads.errors import Problem
from uploads.models import Action, Event, File, Finding, Folder, Trouble, Usage
from uploads.services.folders import ensure
from uploads.services.fsck import Scope
from uploads.services.fsck.look import Verdict, look
from uploads.services.fsck.repair import complete_run
from uploads.services.manifest.recover import FOLDER, recovered

BATCH = 500
MENDED = "made a file again"


def recover_unknown(owner: User, *, apply: bool) -> int:
    """Give `owner` a private file for each orphan that the last complete run of fsck found under `f/`, in a folder of
    their own; how many. Names are lost with the rows: each is called by its key. Safe to repeat.

    Raises Refused without such a run of the last 24 hours, StoreUnavailable, Forbidden.
    """
    scope = Scope(s3.main_store().name)
    orphans = complete_run(scope).findings.filter(trouble=Trouble.ORPHAN, mended="", key__startswith="f/")
    if not apply:
        return orphans.count()
    done, folder = 0, None
    for findings in _batches(list(orphans.order_by("pk"))):
        # whatever got a row meanwhile is no orphan any more
        verdicts = look([finding.key for finding in findings], store=scope.store, grace=0)
        there = [verdict for verdict in verdicts if verdict.trouble == Trouble.ORPHAN]
        if there:
            folder = folder or _folder(owner)
            done += _give(owner, folder, there, scope.store)
        Finding.objects.filter(pk__in=[finding.pk for finding in findings]).update(mended=MENDED)
    return done


def _give(owner: User, folder: Folder, verdicts: Sequence[Verdict], store: str) -> int:
    found = [verdict.sight.item for verdict in verdicts if verdict.sight.item is not None]
    told = [{"key": one.key, "store": store, "size": one.size, "at": one.modified.isoformat()} for one in found]
    lines = io.StringIO("".join(json.dumps(one) + "\n" for one in told))
    files = [File(**row) for row in recovered(lines, owner_id=owner.pk, folder_id=folder.pk)]
    with transaction.atomic():
        Usage.objects.locked(owner.pk).change(files=len(files), bytes=sum(file.size for file in files))
        File.objects.bulk_create(files)
        Event.objects.record_all(Action.REPAIR, files, by=None, what=MENDED)
    return len(files)


def _folder(owner: User) -> Folder:
    path = f"{FOLDER} {datetime.now(UTC):%Y-%m-%d %H.%M.%S}"
    made = ensure([path], by=owner, limited=False)[path]
    if isinstance(made, Problem):
        raise made
    if made is None:
        raise AssertionError("a path that is not empty has a folder")
    return made


def _batches(findings: list[Finding]) -> Iterator[list[Finding]]:
    for first in range(0, len(findings), BATCH):
        yield findings[first : first + BATCH]
