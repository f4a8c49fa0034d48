"""Names as people give them, with their normalized forms, put together from a vocabulary that is normalized once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random
from typing import Generic, TypeVar

from uploads.media_types import category_of
from uploads.names import normalize_for_search

Item = TypeVar("Item")
COMMON = """
report invoice contract budget photo logo meeting notes draft final minutes offer presentation plan schedule summary
brief proposal agreement receipt order delivery statement analysis review survey letter poster banner brochure
catalogue manual guide interview recording podcast trailer teaser animation render mockup screenshot icon map floor
garden kitchen harbour bridge station portrait landscape sunset wedding conference workshop training exam thesis
chapter appendix glossary index annex backup export archive snapshot release build patch config source dataset
ledger payroll tax audit insurance claim policy permit licence certificate diploma passport visa ticket itinerary
rechnung vertrag angebot protokoll übersicht präsentation straßenplan résumé café déjà-vu façade contrat réunion
presupuesto año reunión niño informe relatório ação reunião żółw łódź zdjęcie umowa отчёт договор счёт фото встреча
смета протокол приложение تقرير عقد صورة اجتماع ميزانية חוזה דוח תמונה 報告 契約 写真 合同 照片 회의
"""
SYLLABLES = """
ba be bo da de do fa fi ga go ha he ja jo ka ke la le lo ma me mi na ne no pa pe ra re ri sa se ta te to va vi za zo
"""
ENDINGS = ["", "", "n", "r", "s", "tti", "nson", "berg", "ova", "é", "ñez", "ğlu", "ström"]
PROPER_NAMES = 20_000
CAMERAS = ["IMG_", "DSC", "DSC_", "PXL_", "P", "GOPR", "DJI_", "VID_", "Scan ", "Screenshot "]
TAILS = ["", "", " final", " final (2)", " copy", " v2", " v3", " v12", " draft", "_signed", " EN", " ES", " – Kopie"]
# share in percent, median size in bytes, spread (sigma of the logarithm), share of names given by a machine, and
# extensions with their media types
FAMILIES: dict[str, tuple[int, int, float, float, list[tuple[str, str]]]] = {
    "image": (44, 2_400_000, 1.1, 0.6, [("jpg", "image/jpeg"), ("JPG", "image/jpeg"), ("png", "image/png"),
                                        ("heic", "image/heic"), ("webp", "image/webp"), ("svg", "image/svg+xml")]),
    "video": (6, 80_000_000, 1.4, 0.6, [("mp4", "video/mp4"), ("mov", "video/quicktime"), ("webm", "video/webm")]),
    "audio": (5, 6_000_000, 1.0, 0.2, [("mp3", "audio/mpeg"), ("wav", "audio/x-wav"), ("flac", "audio/flac")]),
    "pdf": (18, 400_000, 1.5, 0.1, [("pdf", "application/pdf"), ("PDF", "application/pdf")]),
    "document": (14, 90_000, 1.3, 0.0, [
        ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
        ("odt", "application/vnd.oasis.opendocument.text")]),
    "text": (8, 9_000, 1.8, 0.1, [("txt", "text/plain"), ("csv", "text/csv"), ("md", "text/markdown"),
                                  ("json", "application/json"), ("py", "text/x-python")]),
    "archive": (4, 30_000_000, 1.7, 0.1, [("zip", "application/zip"), ("tar.gz", "application/gzip"),
                                          ("7z", "application/x-7z-compressed")]),
    "other": (1, 1_000_000, 2.0, 0.1, [("psd", "image/vnd.adobe.photoshop"), ("bin", "application/octet-stream")]),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Word:
    """A piece of a name, and what `normalize_for_search` makes of it."""

    name: str
    normalized_name: str

    @property
    def natural_name(self) -> str:
        """The key of the natural order, as the triggers compute it: each number begins with its length."""
        return re.sub("[0-9]+", _number_key, self.normalized_name)


def _number_key(match: re.Match[str]) -> str:
    number = match[0].lstrip("0")
    return chr(ord("0") + len(number)) + number


@dataclass(frozen=True, slots=True)
class Kind:
    """One extension: the category and media type that it leads to, and how large such files are."""

    end: Word
    category: str
    media_type: str
    median: int
    spread: float
    by_machine: float


@dataclass(slots=True)
class Weighted(Generic[Item]):
    """Items to draw from, some more often than others."""

    items: list[Item]
    sums: list[float] = field(default_factory=list)

    def draw(self, rng: Random, count: int) -> list[Item]:
        return rng.choices(self.items, cum_weights=self.sums, k=count)


def by_rank(items: list[Item], *, steepness: float) -> Weighted[Item]:
    """The first the most often: the item at rank r has a share in proportion to 1 / r ** steepness."""
    return Weighted(items, list(accumulate((rank + 1) ** -steepness for rank in range(len(items)))))


def word(text: str) -> Word:
    return Word(text, normalize_for_search(text))


def common_words() -> Weighted[Word]:
    return by_rank([word(text) for text in COMMON.split()], steepness=0.8)


def proper_names() -> Weighted[Word]:
    """Customers, projects and places: the first are in every hundredth name, the last in a handful of millions."""
    rng, syllables = Random("proper names"), SYLLABLES.split()
    names: dict[str, None] = {}
    while len(names) < PROPER_NAMES:
        stem = "".join(rng.choices(syllables, k=rng.choice([2, 3, 3, 4])))
        names[(stem + rng.choice(ENDINGS)).capitalize()] = None
    return by_rank([word(text) for text in names], steepness=0.9)


def kinds() -> Weighted[Kind]:
    extensions, shares = [], []
    for share, median, spread, by_machine, ends in FAMILIES.values():
        for rank, (extension, media_type) in enumerate(ends):
            end = word(f".{extension}")
            extensions.append(Kind(end, category_of(media_type), media_type, median, spread, by_machine))
            shares.append(share / (rank + 1))
    return Weighted(extensions, list(accumulate(shares)))


class Namer:
    """Draws stems of names, all of one random source."""

    def __init__(self) -> None:
        self.common, self.proper = common_words(), proper_names()
        self.cameras = by_rank([word(text) for text in CAMERAS], steepness=1.0)
        self.tails = [word(text) for text in TAILS]

    def stems(self, rng: Random, count: int) -> list[tuple[Word, Word, Word]]:
        """Draw stems as people write them: a subject, an owner, and the state of a draft."""
        tails = rng.choices(self.tails, k=count)
        return list(zip(self.common.draw(rng, count), self.proper.draw(rng, count), tails, strict=True))
