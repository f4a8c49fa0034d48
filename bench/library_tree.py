"""A tree of folders as teams have: few large, many small, one with a fifth of all folders as its children."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random

from bench.library_names import Weighted, Word, common_words, proper_names

DEEPEST = 8
TOPS = 12
RESTRICTED = 5
FILES_PER_FOLDER = 100  # on average
FEWEST = 100
WIDE_SHARE = 5  # a fifth


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
