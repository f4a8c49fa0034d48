"""Which files a zip will hold, under which names, and how long it will be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from uuid import UUID

from django.contrib.auth.models import User
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from uploads.content_encoding import stored_name
from uploads.errors import BadInput, Problem
from uploads.models import Basis, File, Folder, Origin
from uploads.services.content_encoding import Place, learn_encodings
from uploads.services.refusals import in_a_sentence
from uploads.services.zips.layout import Member, length_of
from uploads.services.zips.paths import MANIFEST, paths_of
from uploads.services.zips.reading import Wanted

MOST_FILES = 10_000
HEX_BYTES = 64
COLUMNS = (
    "id", "series", "key", "store", "origin", "content_encoding", "name", "folder_id", "size", "part_size", "checksum",
    "etag", "checksum_basis", "modified", "available_at", "refusal",
)  # fmt: skip


class NotAllThere(Problem):
    code = "not_found"

    def __init__(self, missing: int) -> None:
        text = ngettext(
            "%(count)s of the chosen files is not there any more, or not yours to see. Choose again.",
            "%(count)s of the chosen files are not there any more, or not yours to see. Choose again.",
            missing,
        )
        super().__init__(text % {"count": missing})


class BytesLost(Problem):
    code = "bytes_missing"

    def __init__(self, names: Sequence[str]) -> None:
        text = ngettext(
            "The bytes of %(names)s are not in the store. You did nothing wrong: choose again without this file, and "
            "tell an administrator, who may have a copy.",
            "The bytes of %(names)s are not in the store. You did nothing wrong: choose again without these files, and "
            "tell an administrator, who may have copies.",
            len(names),
        )
        super().__init__(text % {"names": in_a_sentence(names)})


@dataclass(frozen=True, slots=True)
class Bundle:
    """What will be sent: `length` is the zip's, to the byte; its last member is the manifest."""

    name: str
    files: list[Wanted]
    members: list[Member]
    length: int


def bundle(user: User, links: Sequence[UUID]) -> Bundle:
    """The zip of these files. Raises BadInput for none and for more than ten thousand, NotAllThere when this
    person may not see one of them, BytesLost when one is known to be missing: nothing is left out silently."""
    wanted = list(dict.fromkeys(links))
    if not 0 < len(wanted) <= MOST_FILES:
        raise BadInput(_("Choose between one file and %(most)s files.") % {"most": f"{MOST_FILES:,}"})
    rows = File.objects.visible_to(user).listed().by_links(wanted)
    files = [Wanted(*row) for row in rows.order_by("folder_id", "folded", "id").values_list(*COLUMNS)]
    if len(files) != len(wanted):
        raise NotAllThere(len(wanted) - len(files))
    if lost := [file.name for file in files if file.basis == Basis.MISSING]:
        raise BytesLost(lost)
    encodings = _encodings(files)
    common, ways = _ways(user, {file.folder_id for file in files})
    paths = paths_of([(ways[file.folder_id], stored_name(file.name, encodings.get(file.id))) for file in files])
    members = [
        Member(path, file.size, file.modified or file.available_at) for path, file in zip(paths, files, strict=True)
    ]
    members.append(_manifest(members, files))
    return Bundle(f"{common or _('files')}.zip", files, members, length_of(members))


def _encodings(files: Sequence[Wanted]) -> Mapping[UUID, str]:
    """Of files that are stored compressed, under which encoding: a zip holds the stored bytes."""
    unknown = [file for file in files if file.content_encoding is None and file.origin != Origin.UPLOADED]
    known = {file.id: file.content_encoding for file in files if file.content_encoding}
    return {**known, **learn_encodings(Place(file.id, file.key, file.store) for file in unknown)}


def _manifest(members: Sequence[Member], files: Sequence[Wanted]) -> Member:
    size = sum(HEX_BYTES + len(b"  \n") + len(member.path.encode()) for member in members)
    return Member(MANIFEST, size, max(file.available_at for file in files))


def _ways(user: User, ids: set[int | None]) -> tuple[str, dict[int | None, list[str]]]:
    """The name of the deepest folder that holds all of these, and the way to each from there. The name of a folder
    on the way that this person may not know is empty."""
    rows = Folder.objects.filter(pk__in=[pk for pk in ids if pk]).values_list("pk", "path")
    paths: dict[int | None, list[int]] = {pk: [] for pk in ids} | dict(rows)
    levels = zip(*paths.values(), strict=False)  # as far down as the shallowest goes
    shared = [steps[0] for steps in takewhile(lambda steps: len(set(steps)) == 1, levels)]
    steps = {step for path in paths.values() for step in path}
    called = dict(Folder.objects.visible_to(user).filter(pk__in=steps).values_list("pk", "name"))
    ways = {pk: [called.get(step, "") for step in path[len(shared) :]] for pk, path in paths.items()}
    return (called.get(shared[-1], "") if shared else ""), ways
