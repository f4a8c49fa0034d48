"""What people type and choose when they put files in order. What cannot be used raises ValidationFailed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.contrib.auth.models import Group
from django.utils.translation import gettext as _

from uploads import names
from uploads.errors import ValidationFailed
from uploads.models import AccessLevel
from uploads.models.tag import MAX_TAG_CHARACTERS

MAX_TAGS_PER_REQUEST = 50
MAX_TYPED_TAG_CHARACTERS = 10_000
MAX_DIGITS = 18


def parse_id(text: str | None) -> int | None:
    """An id out of a form; None for nothing or nonsense."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else None


def folder_name(text: str) -> str:
    """One clean name. A slash is refused and not cut off: whoever types one expects two folders."""
    text = _typed(text)
    if "/" in text or "\\" in text:
        raise ValidationFailed(_("A folder's name cannot hold a slash. Make one folder, and the other one in it."))
    if not text.strip(". "):
        raise ValidationFailed(_("A folder needs a name other than dots."))
    return names.clean_name(text)


def read_file_name(text: str) -> str:
    return names.clean_name(_typed(text))


def parse_tags(text: str) -> list[str]:
    """Clean tags out of a line with commas between them; the same tag twice is one."""
    if len(text) > MAX_TYPED_TAG_CHARACTERS:
        raise ValidationFailed(
            _("That is too much for tags. Put in at most %(most)s at once.") % {"most": MAX_TAGS_PER_REQUEST}
        )
    found = {names.normalize_for_search(name): name for name in map(_tag, text.split(",")) if name}
    if len(found) > MAX_TAGS_PER_REQUEST:
        raise ValidationFailed(_("At most %(most)s tags at once.") % {"most": MAX_TAGS_PER_REQUEST})
    return list(found.values())


def access_levels(sent: Mapping[str, str], groups: Iterable[Group]) -> dict[Group, AccessLevel] | None:
    """Who may do what, from the fields `level-<group>`; None where the folder is to have no rules of its own."""
    if sent.get("access") != "groups":
        return None
    chosen = {group: parse_id(sent.get(f"level-{group.pk}")) for group in groups}
    return {group: AccessLevel(level) for group, level in chosen.items() if level in AccessLevel.values}


def _typed(text: str) -> str:
    text = text.replace("\x00", "").strip()
    if not text:
        raise ValidationFailed(_("Put in a name."))
    if len(text) > names.MAX_TYPED_CHARACTERS:
        raise ValidationFailed(_("The name is too long: at most %(most)s characters.") % {"most": names.MAX_CHARACTERS})
    return text


def _tag(text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    name = text.replace("/", "-").replace("\\", "-")
    if len(name) <= names.MAX_TYPED_CHARACTERS:  # normalizing takes quadratic time for a run of combining marks
        name = names.clean_name(name)
    if len(name) > MAX_TAG_CHARACTERS:
        raise ValidationFailed(_("A tag may have at most %(most)s characters.") % {"most": MAX_TAG_CHARACTERS})
    return name
