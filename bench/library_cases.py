"""What is asked of a library: each list, search, filter, order, deep page, admin list and the dashboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import urlencode

from bench.library_make import MANAGER, MEMBER, ROOT
from bench.library_names import COMMON, proper_names

ASKED = 50  # requests a case
SAMPLED = 4_000
DEEP = (0.85, 0.95)
WHO = {"member": MEMBER, "manager": MANAGER, "root": ROOT}
SORTS = ["-added", "added", "name", "-name", "size", "-size"]
COLUMNS = {"added": "available_at", "name": "normalized_name", "size": "size"}


@dataclass(frozen=True, slots=True)
class Case:
    """Addresses to ask one after the other, over and over; `kind` says which bars hold."""

    name: str
    kind: str
    who: str
    addresses: Sequence[str]


class Sample:
    """Rows of this library that the addresses are made of. The same library gives the same sample."""

    def __init__(self) -> None:
        from django.contrib.auth.models import User

        from uploads.models import Folder, Kind, Statistic, Status, Tag

        self.member = User.objects.get(username=MEMBER)
        stored = Statistic.objects.filter(status=Status.STORED).order_by("-files", "key")
        total = stored.get(kind=Kind.TOTAL).files
        self.files = _some_files(self.member, share=min(1.0, 2 * SAMPLED / total))
        open_ids = set(Folder.objects.visible_to(self.member).values_list("pk", flat=True))
        counts = list(stored.filter(kind=Kind.FOLDER).exclude(key="0").values_list("key", "files"))
        self.folders = [int(key) for key, _files in counts if int(key) in open_ids]
        self.small = [int(key) for key, files in counts if files < 60 and int(key) in open_ids][:ASKED]
        self.wide = Folder.objects.order_by("pk")[0].pk
        self.tops = list(Folder.objects.filter(parent=None, pk__in=open_ids).values_list("pk", flat=True))[1:]
        third = Folder.objects.filter(path__len=3, pk__in=open_ids, children__isnull=False).distinct()
        self.middling = list(third.order_by("pk").values_list("pk", flat=True)[:ASKED])
        names = dict(User.objects.values_list("pk", "username"))
        self.owners = [names[int(key)] for key in stored.filter(kind=Kind.OWNER).values_list("key", flat=True)]
        tags = dict(Tag.objects.values_list("pk", "name"))
        self.tags = [tags[int(key)] for key in stored.filter(kind=Kind.TAG).values_list("key", flat=True)]

    def deep(self, sort: str) -> list[str]:
        """Spots from which a list in this order goes on near its end."""
        from uploads.listing import Cursor

        column = COLUMNS[sort.removeprefix("-")]
        rows = sorted(((getattr(file, column), file.pk) for file in self.files), reverse=sort.startswith("-"))
        start, end = (int(share * len(rows)) for share in DEEP)
        return [str(Cursor(value, pk)) for value, pk in Random(sort).sample(rows[start:end], ASKED)]


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
    found = [Case("top of the library", "list", "member", ["/"])]
    found += [Case(f"all files, {sort}", "list", "member", [_list(sort=sort)]) for sort in SORTS]
    found += [Case(f"all files, {who}", "list", who, [_list()]) for who in ("manager", "root")]
    found.append(Case("all files as a grid", "list", "member", [_list(view="grid")]))
    for sort in SORTS:
        deep = [_list(sort=sort, after=spot) for spot in sample.deep(sort)]
        found.append(Case(f"deep page, {sort}", "list", "member", deep))
    for sort in ("-added", "name", "size"):
        found.append(Case(f"trash, {sort}", "list", "manager", [_at("/trash/", sort=sort)]))
    return found


def _folders(sample: Sample) -> list[Case]:
    huge = f"/folders/{sample.folders[0]}/"
    found = [Case(f"fullest folder, {sort}", "folder", "member", [_at(huge, sort=sort)]) for sort in SORTS]
    return [
        *found,
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
        _filter("type", [_list(type=one) for one in types]),
        _filter("type, name", [_list(type=one, sort="name") for one in types]),
        _filter("type, size", [_list(type=one, sort="size") for one in types]),
        _filter("owner", [_list(owner=one) for one in sample.owners]),
        _filter("owner, name", [_list(owner=one, sort="name") for one in sample.owners]),
        _filter("owner, -size", [_list(owner=one, sort="-size") for one in sample.owners]),
        _filter("common tag", [_list(tag=one) for one in sample.tags[:5]]),
        _filter("common tag, name", [_list(tag=one, sort="name") for one in sample.tags[:5]]),
        _filter("rare tag", [_list(tag=one) for one in rare]),
        _filter("rare tag, name", [_list(tag=one, sort="name") for one in rare]),
        _filter("size", [_list(size=one) for one in sizes]),
        _filter("size, name", [_list(size=one, sort="name") for one in sizes]),
        _filter("added", [_list(added=one) for one in times]),
        _filter("added, -size", [_list(added=one, sort="-size") for one in times]),
        _filter("rare owner and type", [_list(owner=one, type="other") for one in last]),
        _filter("rare owner and rare tag", [_list(owner=one, tag=tag) for one in last for tag in rare]),
        _filter("type, size and time", [_list(type=one, size="over-100mb", added="1y") for one in types]),
    ]


def _searches(sample: Sample) -> list[Case]:
    common = COMMON.split()[:ASKED]
    names = [word.normalized_name for word in proper_names().items]
    middling, rare = names[200 : 200 + ASKED], names[-ASKED:]
    kinds = {
        "common word": common,
        "name": middling,
        "rare name": rare,
        "no hit": [f"zzq{number}x" for number in range(ASKED)],
        "two words": [f"{one} {two}" for one, two in zip(common, middling, strict=True)],
        "word and year": [f"{one} 2024" for one in common],
        "two letters": ["te", "re", "jp", "pd", "v2", "im"],
        "accents": ["résumé", "Über", "niño", "ŁÓDŹ", "déjà"],
        "other scripts": ["отчёт", "договор", "تقرير", "חוזה"],
    }
    found = [_search(name, [_list(q=word) for word in words]) for name, words in kinds.items()]
    found += [
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
    return found


def _pages(sample: Sample) -> list[Case]:
    files = [f"/files/{file.link}/" for file in sample.files[:ASKED]]
    return [Case("file page", "page", "member", files), Case("tags", "page", "member", ["/tags/"])]


def _admin(sample: Sample) -> list[Case]:
    files = "/admin/uploads/file/"
    names = [word.normalized_name for word in proper_names().items[200 : 200 + ASKED]]
    lists = {
        "files": [files],
        "files, page 2": [_at(files, p="2")],
        "files, name": [_at(files, o="2")],
        "files, one type": [_at(files, type=one) for one in ("image", "pdf", "other")],
        "files, one owner": [_at(files, owner=one) for one in sample.owners],
        "files, in the trash": [_at(files, state="trash")],
        "events": ["/admin/uploads/event/"],
        "events, one action": [_at("/admin/uploads/event/", action="move")],
        "folders": ["/admin/uploads/folder/"],
        "tags": ["/admin/uploads/tag/"],
        "users": ["/admin/auth/user/"],
        "usage": ["/admin/uploads/usage/"],
    }
    found = [Case(f"admin: {name}", "admin list", "root", addresses) for name, addresses in lists.items()]
    found.append(Case("admin: files of a manager", "admin list", "manager", [files]))
    found.append(Case("admin: files, search", "search", "root", [_at(files, q=word) for word in names]))
    found.append(Case("admin: folders, search", "search", "root", [_at("/admin/uploads/folder/", q=w) for w in names]))
    found.append(Case("admin: dashboard", "dashboard", "root", ["/admin/storage/"]))
    return found


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
