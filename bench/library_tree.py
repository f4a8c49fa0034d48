"""A tree of folders as teams grow them: few large, many small, one with a fifth of all folders right under it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random

from bench.library_names import Weighted, Word, common_words, proper_names

DEEPEST = 8
TOPS = 12
RESTRICTED = 5
FILES_A_FOLDER = 100  # on average
FEWEST = 100
WIDE_SHARE = 5  # a fifth


@dataclass(slots=True)
class Branch:
    """One folder. `path` leads from the top down to itself, `access_root` is the id that rules here."""

    pk: int
    word: Word
    path: tuple[int, ...]
    restricted: bool = False
    access_root: int | None = None


@dataclass(slots=True)
class Tree:
    """The folders, and where files lie: the first of `shares` hold most."""

    branches: list[Branch]
    wide: Branch
    shares: Weighted[int] = field(init=False)

    def __post_init__(self) -> None:
        free = [branch.pk for branch in self.branches if branch.access_root is None]
        ruled = [branch.pk for branch in self.branches if branch.access_root is not None]
        Random("shares").shuffle(free)
        self.shares = Weighted(free + ruled, list(accumulate(_share(rank) for rank in range(len(self.branches)))))

    def restricted(self) -> list[Branch]:
        return [branch for branch in self.branches if branch.restricted]


def tree(files: int) -> Tree:
    """The tree for this many files: 100,000 folders for ten million."""
    rng = Random("tree")
    count = max(FEWEST, files // FILES_A_FOLDER)
    pairs = _names(rng)
    taken: set[tuple[int, str]] = set()
    branches = [_grow(pk, None, pairs, taken) for pk in range(1, TOPS + 1)]
    for branch in branches[1 : 1 + RESTRICTED]:
        branch.restricted, branch.access_root = True, branch.pk
    wide, wide_count = branches[0], count // WIDE_SHARE
    for pk in range(TOPS + 1, count + 1):
        parent = wide if pk <= TOPS + wide_count else _parent(branches, rng)
        branches.append(_grow(pk, parent, pairs, taken))
    return Tree(branches, wide)


def _share(rank: int) -> float:
    """So that of ten million files the five fullest folders hold 100,000 and more each."""
    return float((rank + 1) ** -0.9)


def _parent(branches: list[Branch], rng: Random) -> Branch:
    """Some folder that is not too deep, rather an old one than a young one."""
    while True:
        found = branches[int(len(branches) * rng.random() ** 2)]
        if len(found.path) < DEEPEST and found.pk != branches[0].pk:
            return found


def _grow(pk: int, parent: Branch | None, words: Iterator[Word], taken: set[tuple[int, str]]) -> Branch:
    above = parent.pk if parent else 0
    word = next(words)
    number = 2
    while (above, word.name) in taken:
        plain = next(words)
        word = Word(f"{plain.name} {number}", f"{plain.normalized_name} {number}")
        number += 1
    taken.add((above, word.name))
    path = (*(parent.path if parent else ()), pk)
    return Branch(pk, word, path, access_root=parent.access_root if parent else None)


def _names(rng: Random) -> Iterator[Word]:
    common, proper = common_words(), proper_names()
    while True:
        for first, second in zip(common.draw(rng, 1000), proper.draw(rng, 1000), strict=True):
            yield Word(f"{second.name} {first.name}", f"{second.normalized_name} {first.normalized_name}")
