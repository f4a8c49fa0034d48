"""The requests to a library: each list, search, filter, order, deep page, admin list and the dashboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import urlencode

from bench.library_names import COMMON, proper_names
from bench.library_seed import MANAGER, MEMBER, ROOT

REQUESTS = 50  # per case
# As many as the smallest library has: of more, the larger library alone would have to render the rows each time.
MIDDLING_FOLDERS = 8
SAMPLED = 4_000
DEEP = (0.85, 0.95)
USERS = {"member": MEMBER, "manager": MANAGER, "root": ROOT}
SORTS = ["-added", "added", "name", "-name", "size", "-size"]
COLUMNS = {"added": "available_at", "name": "natural_name", "size": "size"}


@dataclass(frozen=True, slots=True)
class Case:
    """Addresses to request in turn; `kind` decides which limits apply."""

    name: str
    kind: str
    user: str
    addresses: Sequence[str]


class Sample:
    """Rows of this library that the addresses contain. The same library gives the same sample."""

    def __init__(self) -> None:
        from django.contrib.auth.models import User

        from uploads.models import Folder, Statistic, StatisticKind, StatisticStatus, Tag

        self.member = User.objects.get(username=MEMBER)
        stored = Statistic.objects.filter(status=StatisticStatus.STORED).order_by("-files", "key")
        total = stored.get(kind=StatisticKind.TOTAL).files
        self.files = _some_files(self.member, share=min(1.0, 2 * SAMPLED / total))
        open_ids = set(Folder.objects.visible_to(self.member).values_list("pk", flat=True))
        counts = list(stored.filter(kind=StatisticKind.FOLDER).exclude(key="0").values_list("key", "files"))
        self.folders = [int(key) for key, _files in counts if int(key) in open_ids]
        self.small = [int(key) for key, files in counts if files < 60 and int(key) in open_ids][:REQUESTS]
        self.wide = Folder.objects.order_by("pk")[0].pk
        self.tops = list(Folder.objects.filter(parent=None, pk__in=open_ids).values_list("pk", flat=True))[1:]
        third = Folder.objects.filter(path__len=3, pk__in=open_ids, children__isnull=False).distinct()
        self.middling = list(third.order_by("pk").values_list("pk", flat=True)[:MIDDLING_FOLDERS])
        names = dict(User.objects.values_list("pk", "username"))
        self.owners = [names[int(key)] for key in stored.filter(kind=StatisticKind.OWNER).values_list("key", flat=True)]
        tags = dict(Tag.objects.values_list("pk", "name"))
        self.tags = [tags[int(key)] for key in stored.filter(kind=StatisticKind.TAG).values_list("key", flat=True)]

    def deep(self, sort: str) -> list[str]:
        """Return cursors near the end of a list in this order."""
        from uploads.listing import Cursor

        column = COLUMNS[sort.removeprefix("-")]
        rows = sorted(((getattr(file, column), file.pk) for file in self.files), reverse=sort.startswith("-"))
        start, end = (int(share * len(rows)) for share in DEEP)
        return [str(Cursor(value, pk)) for value, pk in Random(sort).sample(rows[start:end], REQUESTS)]


def _some_files(user: Any, *, share: float) -> list[Any]:
    from django.db import connection

    from uploads.models import File

    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM uploads_file TABLESAMPLE SYSTEM ({100 * share:.4f}) REPEATABLE (1)")
        ids = [pk for (pk,) in cursor.fetchall()]
    Random("files").shuffle(ids)
    return list(File.objects.visible_to(user).listed().filter(pk__in=ids[:SAMPLED]))


def all_cases(sample: Sample) -> list[Case]:
    return [*_lists(sample), *_folders(sample), *_filters(sample), *_searches(sample), *_pages(sample), *_admin(sample)]


def _lists(sample: Sample) -> list[Case]:
    cases = [Case("top of the library", "list", "member", ["/"])]
    cases += [Case(f"all files, {sort}", "list", "member", [_list(sort=sort)]) for sort in SORTS]
    cases += [Case(f"all files, {user}", "list", user, [_list()]) for user in ("manager", "root")]
    cases.append(Case("all files as a grid", "list", "member", [_list(view="grid")]))
    for sort in SORTS:
        deep = [_list(sort=sort, after=cursor) for cursor in sample.deep(sort)]
        cases.append(Case(f"deep page, {sort}", "list", "member", deep))
    for sort in ("-added", "name", "size"):
        cases.append(Case(f"trash, {sort}", "list", "manager", [_at("/trash/", sort=sort)]))
    return cases


def _folders(sample: Sample) -> list[Case]:
    huge = f"/folders/{sample.folders[0]}/"
    cases = [Case(f"fullest folder, {sort}", "folder", "member", [_at(huge, sort=sort)]) for sort in SORTS]
    return [
        *cases,
        Case("small folders", "folder", "member", [f"/folders/{pk}/" for pk in sample.small]),
        Case("folder of very many folders", "folder", "member", [f"/folders/{sample.wide}/"]),
        Case("below a folder of the top", "folder", "member", _below(sample.tops)),
        Case("below a folder of the top, name", "folder", "member", _below(sample.tops, sort="name")),
        Case("below middling folders", "folder", "member", _below(sample.middling)),
        Case("below middling folders, name", "folder", "member", _below(sample.middling, sort="name")),
        Case("below middling folders, -size", "folder", "member", _below(sample.middling, sort="-size")),
    ]


def _filters(sample: Sample) -> list[Case]:
    types = ["image", "video", "audio", "pdf", "document", "text", "archive", "other"]
    sizes, times = ["under-1mb", "1-10mb", "10-100mb", "over-1gb"], ["7d", "30d", "1y", "older"]
    rare, last = sample.tags[-5:], sample.owners[-5:]
    return [
        _filter("type", [_list(type=value) for value in types]),
        _filter("type, name", [_list(type=value, sort="name") for value in types]),
        _filter("type, size", [_list(type=value, sort="size") for value in types]),
        _filter("owner", [_list(owner=value) for value in sample.owners]),
        _filter("owner, name", [_list(owner=value, sort="name") for value in sample.owners]),
        _filter("owner, -size", [_list(owner=value, sort="-size") for value in sample.owners]),
        _filter("common tag", [_list(tag=value) for value in sample.tags[:5]]),
        _filter("common tag, name", [_list(tag=value, sort="name") for value in sample.tags[:5]]),
        _filter("rare tag", [_list(tag=value) for value in rare]),
        _filter("rare tag, name", [_list(tag=value, sort="name") for value in rare]),
        _filter("size", [_list(size=value) for value in sizes]),
        _filter("size, name", [_list(size=value, sort="name") for value in sizes]),
        _filter("added", [_list(added=value) for value in times]),
        _filter("added, -size", [_list(added=value, sort="-size") for value in times]),
        _filter("rare owner and type", [_list(owner=value, type="other") for value in last]),
        _filter("rare owner and rare tag", [_list(owner=value, tag=tag) for value in last for tag in rare]),
        _filter("type, size and time", [_list(type=value, size="over-100mb", added="1y") for value in types]),
    ]


def _searches(sample: Sample) -> list[Case]:
    common = COMMON.split()[:REQUESTS]
    names = [word.normalized_name for word in proper_names().items]
    middling, rare = names[200 : 200 + REQUESTS], names[-REQUESTS:]
    kinds = {
        "common word": common,
        "name": middling,
        "rare name": rare,
        "no hit": [f"zzq{number}x" for number in range(REQUESTS)],
        "two words": [f"{word} {two}" for word, two in zip(common, middling, strict=True)],
        "word and year": [f"{word} 2024" for word in common],
        "two letters": ["te", "re", "jp", "pd", "v2", "im"],
        "accents": ["résumé", "Über", "niño", "ŁÓDŹ", "déjà"],
        "other scripts": ["отчёт", "договор", "تقرير", "חוזה"],
    }
    cases = [_search(name, [_list(q=word) for word in words]) for name, words in kinds.items()]
    cases += [
        _search("common word, name", [_list(q=word, sort="name") for word in common]),
        _search("common word, -size", [_list(q=word, sort="-size") for word in common]),
        _search("name, size", [_list(q=word, sort="size") for word in middling]),
        _search("what cameras write, name", [_list(q="img", sort="name")]),
        _search("a sign that no name has", [_list(q="%")]),
        _search("common word and type", [_list(q=word, type="archive") for word in common]),
        _search("common word and rare tag", [_list(q=word, tag=sample.tags[-1]) for word in common]),
        _search("common word below folders", _below(sample.middling, q="report")),
        _search("name in the fullest folder", [_at(f"/folders/{sample.folders[0]}/", q=word) for word in middling]),
    ]
    return cases


def _pages(sample: Sample) -> list[Case]:
    files = [f"/files/{file.permanent_id}/" for file in sample.files[:REQUESTS]]
    return [Case("file page", "page", "member", files), Case("tags", "page", "member", ["/tags/"])]


def _admin(sample: Sample) -> list[Case]:
    files = "/admin/uploads/file/"
    names = [word.normalized_name for word in proper_names().items[200 : 200 + REQUESTS]]
    lists = {
        "files": [files],
        "files, page 2": [_at(files, p="2")],
        "files, name": [_at(files, o="2")],
        "files, one type": [_at(files, type=value) for value in ("image", "pdf", "other")],
        "files, one owner": [_at(files, owner=value) for value in sample.owners],
        "files, in the trash": [_at(files, state="trash")],
        "events": ["/admin/uploads/event/"],
        "events, one action": [_at("/admin/uploads/event/", action="move")],
        "folders": ["/admin/uploads/folder/"],
        "tags": ["/admin/uploads/tag/"],
        "users": ["/admin/auth/user/"],
        "usage": ["/admin/uploads/usage/"],
    }
    cases = [Case(f"admin: {name}", "admin list", "root", addresses) for name, addresses in lists.items()]
    cases.append(Case("admin: files of a manager", "admin list", "manager", [files]))
    cases.append(Case("admin: files, search", "search", "root", [_at(files, q=word) for word in names]))
    cases.append(Case("admin: folders, search", "search", "root", [_at("/admin/uploads/folder/", q=w) for w in names]))
    cases.append(Case("admin: dashboard", "dashboard", "root", ["/admin/storage/"]))
    return cases


def _filter(name: str, addresses: list[str]) -> Case:
    return Case(f"filter: {name}", "filter", "member", addresses)


def _search(name: str, addresses: list[str]) -> Case:
    return Case(f"search: {name}", "search", "member", addresses)


def _list(**params: str) -> str:
    return _at("/", **{"subfolders": "1", **params})


def _below(folders: Sequence[int], **params: str) -> list[str]:
    return [_at(f"/folders/{pk}/", subfolders="1", **params) for pk in folders]


def _at(path: str, **params: str) -> str:
    return f"{path}?{urlencode(params)}" if params else path
