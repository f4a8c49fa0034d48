"""The rows of a synthetic library, as text for COPY. The same number of files gives the same library each time.

Folders are as teams have them: few large, many small, one with a fifth of all folders as its children.
"""

from __future__ import annotations

import binascii
import math
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from random import Random

from bench.library_names import Kind, Namer, Weighted, Word, by_rank, common_words, kinds, proper_names

CHUNK = 10_000  # files
YEARS = 6
PRIVATE, TRASHED, UNFINISHED, VERSIONED, UNVERIFIED = 0.10, 0.02, 0.0002, 0.01, 0.001
OF_NO_FOLDER = 0.05
TAGGED = 0.18  # with one to three tags each
WITH_EVENT = 0.10  # files with an event
TAGS = 200
THUMBNAILS_FROM = 0.75  # only images of the last quarter have thumbnails, as those that users open
PART_BYTES = 16 * 1024**2
NULL = r"\N"

COLUMNS = {
    "uploads_file": "id, key, token, owner_id, name, normalized_name, natural_name, folder_id, series, current,"
    " visibility, declared_type, detected_type, category, state, size, part_size, multipart_id, etag, checksum,"
    " checksum_algorithm, checksum_status, created_at, updated_at, available_at, expires_at, purge_after",
    "uploads_tagging": "tag_id, file_id",
    "uploads_event": "at, action, actor_id, actor, file_id, name, address, detail",
    "uploads_preview": "file_id, kind, state, key, size, width, height, reason, lease_until",
}
ORDERS = [(0, 1, 2), (0, 1, 2), (1, 0, 2), (2, 1, 0), (2, 0, 1)]
ACTIONS = by_rank(["upload", "download", "move", "tag", "rename", "visibility"], steepness=1.2)
DEEPEST = 8
TOPS = 12
RESTRICTED = 5
FILES_PER_FOLDER = 100  # on average
FEWEST = 100
WIDE_SHARE = 5  # a fifth


@dataclass(slots=True)
class Library:
    """The data that all chunks of one library share."""

    files: int
    owners: list[tuple[int, str]]  # ids and names
    now: datetime
    tree: Tree = field(init=False)
    namer: Namer = field(default_factory=Namer)
    kinds: Weighted[Kind] = field(default_factory=kinds)
    tags: Weighted[int] = field(default_factory=lambda: by_rank(list(range(1, TAGS + 1)), steepness=1.0))
    shares: Weighted[tuple[int, str]] = field(init=False)

    def __post_init__(self) -> None:
        self.tree = tree(self.files)
        self.shares = by_rank(self.owners, steepness=0.8)

    def moment(self, number: int) -> datetime:
        """Return when this file was uploaded: more files each year, the last of them now."""
        age = 1 - ((number + 1) / self.files) ** 0.7
        return self.now - timedelta(days=365 * YEARS * age)


@dataclass(slots=True)
class Chunk:
    """Lines of several tables, as COPY takes them."""

    rng: Random
    lines: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def copies(self) -> dict[str, bytes]:
        return {table: "".join(lines).encode() for table, lines in self.lines.items()}


def chunk(library: Library, first: int) -> dict[str, bytes]:
    """The rows of files number `first` to `first + CHUNK`, by table."""
    result = Chunk(Random(f"chunk {first}"))
    count, rng = min(CHUNK, library.files - first), result.rng
    drawn = zip(
        range(first, first + count),
        library.namer.stems(rng, count),
        library.namer.cameras.draw(rng, count),
        library.kinds.draw(rng, count),
        library.shares.draw(rng, count),
        library.tree.shares.draw(rng, count),
        strict=True,
    )
    for number, stem, camera, kind, owner, folder in drawn:
        moment = library.moment(number)
        word = _machine_name(rng, camera, moment) if rng.random() < kind.by_machine else _name(rng, stem)
        full = Word(word.name + kind.end.name, word.normalized_name + kind.end.normalized_name)
        _write_file(result, library, number, full, kind, owner, folder, moment)
    return result.copies()


def _name(rng: Random, stem: tuple[Word, Word, Word]) -> Word:
    """Return a name of a subject, an owner and a number, in one of the usual orders."""
    first, second, tail = stem
    between, order = rng.choice(" _-"), rng.choice(ORDERS)
    number = f"{rng.randrange(1990, 2027)}" if rng.random() < 0.3 else f"{rng.randrange(10_000):04}"
    names, normalized_name = (first.name, second.name, number), (first.normalized_name, second.normalized_name, number)
    return Word(
        between.join(names[place] for place in order) + tail.name,
        between.join(normalized_name[place] for place in order) + tail.normalized_name,
    )


def _machine_name(rng: Random, camera: Word, moment: datetime) -> Word:
    number = f"{moment:%Y%m%d_%H%M%S}" if rng.random() < 0.5 else f"{rng.randrange(100_000):05}"
    return Word(camera.name + number, camera.normalized_name + number)


def _write_file(
    chunk: Chunk, library: Library, number: int, word: Word, kind: Kind, owner: tuple[int, str], folder: int,
    moment: datetime,
) -> None:  # fmt: skip
    rng, at = chunk.rng, moment.isoformat()
    chance = rng.random()
    state = "trashed" if chance < TRASHED else "uploading" if chance > 1 - UNFINISHED else "available"
    pk, versioned = rng.randbytes(16), state == "available" and rng.random() < VERSIONED
    link = pk.hex()
    facts = _facts(chunk, library, word, kind, owner, folder, at, state=state)
    if versioned:
        chunk.lines["uploads_file"].append(_line(chunk, link, link, "f", facts))
        pk = rng.randbytes(16)
    chunk.lines["uploads_file"].append(_line(chunk, pk.hex(), link if versioned else NULL, "t", facts))
    if state == "available":
        _write_tags(chunk, library, pk.hex())
        _write_event(chunk, owner, link, word.name, at)
        if kind.category == "image" and number >= THUMBNAILS_FROM * library.files:
            chunk.lines["uploads_preview"].append(
                f"{pk.hex()}\tthumbnail\tready\tp/{rng.randbytes(16).hex()}\t9000\t256\t192\t\t{at}\n"
            )


def _facts(
    chunk: Chunk, library: Library, word: Word, kind: Kind, owner: tuple[int, str], folder: int, at: str, *, state: str
) -> list[str]:
    """The columns that all versions of a file have alike: owner to name, visibility to size, and the times."""
    rng = chunk.rng
    size = int(rng.lognormvariate(math.log(kind.median), kind.spread))
    status = "unverified" if rng.random() < UNVERIFIED else "verified_by_storage"
    soon = (library.now + timedelta(days=30 * rng.random())).isoformat() if state != "available" else NULL
    place = NULL if rng.random() < OF_NO_FOLDER else str(folder)
    visibility = "private" if rng.random() < PRIVATE else "team"
    uploading = state == "uploading"
    before = f"{owner[0]}\t{word.name}\t{word.normalized_name}\t{word.natural_name}\t{place}"
    middle = (
        f"{visibility}\t{kind.media_type}\t{'' if uploading else kind.media_type}\t{kind.category}\t{state}\t{size}"
    )
    times = f"{at}\t{at}\t{NULL if uploading else at}\t{soon if uploading else NULL}"
    return [before, middle, status, f"{times}\t{soon if state == 'trashed' else NULL}"]


def _line(chunk: Chunk, pk: str, series: str, current: str, facts: list[str]) -> str:
    before, middle, status, times = facts
    raw = chunk.rng.randbytes(80)
    checksum = binascii.b2a_base64(raw[48:], newline=False).decode()
    key, token, etag = raw[:16].hex(), raw[16:32].hex(), raw[32:48].hex()
    return (
        f"{pk}\tf/{key}\t{token}\t{before}\t{series}\t{current}\t{middle}\t{PART_BYTES}\t\t"
        f"{etag}\t{checksum}\tsha256\t{status}\t{times}\n"
    )


def _write_tags(chunk: Chunk, library: Library, pk: str) -> None:
    if chunk.rng.random() < TAGGED:
        for tag in {*library.tags.draw(chunk.rng, chunk.rng.choice([1, 1, 2, 3]))}:
            chunk.lines["uploads_tagging"].append(f"{tag}\t{pk}\n")


def _write_event(chunk: Chunk, owner: tuple[int, str], link: str, name: str, at: str) -> None:
    if chunk.rng.random() < WITH_EVENT:
        action = ACTIONS.draw(chunk.rng, 1)[0]
        address = f"10.{chunk.rng.randrange(256)}.{chunk.rng.randrange(256)}.7"
        chunk.lines["uploads_event"].append(
            f"{at}\t{action}\t{owner[0]}\t{owner[1]}\t{uuid.UUID(link)}\t{name}\t{address}\t{{}}\n"
        )


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(slots=True)
class Branch:
    """A folder. `path` is the ids from the top down to itself, `access_root` the id of the folder whose rules apply."""

    pk: int
    word: Word
    path: tuple[int, ...]
    restricted: bool = False
    access_root: int | None = None


@dataclass(slots=True)
class Tree:
    """The folders, and how files are distributed: the first of `shares` have most."""

    branches: list[Branch]
    wide: Branch
    shares: Weighted[int] = field(init=False)

    def __post_init__(self) -> None:
        free = [branch.pk for branch in self.branches if branch.access_root is None]
        restricted_ids = [branch.pk for branch in self.branches if branch.access_root is not None]
        Random("shares").shuffle(free)
        self.shares = Weighted(
            free + restricted_ids, list(accumulate(_share(rank) for rank in range(len(self.branches))))
        )

    def restricted(self) -> list[Branch]:
        return [branch for branch in self.branches if branch.restricted]


def tree(files: int) -> Tree:
    """The tree for this many files: 100,000 folders for ten million."""
    rng = Random("tree")
    count = max(FEWEST, files // FILES_PER_FOLDER)
    pairs = _names(rng)
    used_names: set[tuple[int, str]] = set()
    branches = [_branch(pk, None, pairs, used_names) for pk in range(1, TOPS + 1)]
    for branch in branches[1 : 1 + RESTRICTED]:
        branch.restricted, branch.access_root = True, branch.pk
    wide, wide_count = branches[0], count // WIDE_SHARE
    for pk in range(TOPS + 1, count + 1):
        parent = wide if pk <= TOPS + wide_count else _parent(branches, rng)
        branches.append(_branch(pk, parent, pairs, used_names))
    return Tree(branches, wide)


def _share(rank: int) -> float:
    """Return a share such that of ten million files the five fullest folders have 100,000 or more each."""
    return float((rank + 1) ** -0.9)


def _parent(branches: list[Branch], rng: Random) -> Branch:
    """Return a random folder that is not too deep; older ones are more likely."""
    while True:
        branch = branches[int(len(branches) * rng.random() ** 2)]
        if len(branch.path) < DEEPEST and branch.pk != branches[0].pk:
            return branch


def _branch(pk: int, parent: Branch | None, words: Iterator[Word], used_names: set[tuple[int, str]]) -> Branch:
    above = parent.pk if parent else 0
    word = next(words)
    number = 2
    while (above, word.name) in used_names:
        plain = next(words)
        word = Word(f"{plain.name} {number}", f"{plain.normalized_name} {number}")
        number += 1
    used_names.add((above, word.name))
    path = (*(parent.path if parent else ()), pk)
    return Branch(pk, word, path, access_root=parent.access_root if parent else None)


def _names(rng: Random) -> Iterator[Word]:
    common, proper = common_words(), proper_names()
    while True:
        for first, second in zip(common.draw(rng, 1000), proper.draw(rng, 1000), strict=True):
            yield Word(f"{second.name} {first.name}", f"{second.normalized_name} {first.normalized_name}")
