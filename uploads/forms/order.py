"""What people type and choose when they put files in order. What cannot be used raises BadInput."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.contrib.auth.models import Group
from django.utils.translation import gettext as _

from uploads import names
from uploads.errors import BadInput
from uploads.models import Level
from uploads.models.tag import MOST_TAG_CHARACTERS

MOST_TAGS_AT_ONCE = 50
MOST_TYPED_TAG_CHARACTERS = 10_000
MOST_DIGITS = 18


def whole_number(text: str | None) -> int | None:
    """An id out of a form; None for nothing or nonsense."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else None


def folder_name(text: str) -> str:
    """One clean name. A slash is refused and not cut off: whoever types one expects two folders."""
    text = _typed(text)
    if "/" in text or "\\" in text:
        raise BadInput(_("A folder's name cannot hold a slash. Make one folder, and the other one in it."))
    if not text.strip(". "):
        raise BadInput(_("A folder needs a name other than dots."))
    return names.clean_name(text)


def read_file_name(text: str) -> str:
    return names.clean_name(_typed(text))


def tag_names(text: str) -> list[str]:
    """Clean tags out of a line with commas between them; the same tag twice is one."""
    if len(text) > MOST_TYPED_TAG_CHARACTERS:
        raise BadInput(_("That is too much for tags. Put in at most %(most)s at once.") % {"most": MOST_TAGS_AT_ONCE})
    found = {names.fold(name): name for name in map(_tag, text.split(",")) if name}
    if len(found) > MOST_TAGS_AT_ONCE:
        raise BadInput(_("At most %(most)s tags at once.") % {"most": MOST_TAGS_AT_ONCE})
    return list(found.values())


def access_levels(sent: Mapping[str, str], groups: Iterable[Group]) -> dict[Group, Level] | None:
    """Who may do what, from the fields `level-<group>`; None where the folder is to have no rules of its own."""
    if sent.get("access") != "groups":
        return None
    chosen = {group: whole_number(sent.get(f"level-{group.pk}")) for group in groups}
    return {group: Level(level) for group, level in chosen.items() if level in Level.values}


def _typed(text: str) -> str:
    text = text.replace("\x00", "").strip()
    if not text:
        raise BadInput(_("Put in a name."))
    if len(text) > names.MOST_TYPED_CHARACTERS:
        raise BadInput(_("The name is too long: at most %(most)s characters.") % {"most": names.MOST_CHARACTERS})
    return text


def _tag(text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    name = text.replace("/", "-").replace("\\", "-")
    if len(name) <= names.MOST_TYPED_CHARACTERS:  # normalizing takes quadratic time for a run of combining marks
        name = names.clean_name(name)
    if len(name) > MOST_TAG_CHARACTERS:
        raise BadInput(_("A tag may have at most %(most)s characters.") % {"most": MOST_TAG_CHARACTERS})
    return name
