"""Fields of forms for files, folders and tags. Invalid values raise ValidationFailed."""

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
    """Return the id in a form field, or None if it is empty or invalid."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else None


def folder_name(text: str) -> str:
    """Return the cleaned name of a folder. A slash is an error, since users who type one expect two folders."""
    text = _required_text(text)
    if "/" in text or "\\" in text:
        raise ValidationFailed(_("A folder's name cannot hold a slash. Make one folder, and the other one in it."))
    if not text.strip(". "):
        raise ValidationFailed(_("A folder needs a name other than dots."))
    return names.clean_name(text)


def read_file_name(text: str) -> str:
    """Return the cleaned name of a file."""
    return names.clean_name(_required_text(text))


def parse_tags(text: str) -> list[str]:
    """Return the cleaned tags of a comma-separated line, without duplicates."""
    if len(text) > MAX_TYPED_TAG_CHARACTERS:
        raise ValidationFailed(
            _("That is too much for tags. Put in at most %(most)s at once.") % {"most": MAX_TAGS_PER_REQUEST}
        )
    tags = {names.normalize_for_search(name): name for name in map(_clean_tag, text.split(",")) if name}
    if len(tags) > MAX_TAGS_PER_REQUEST:
        raise ValidationFailed(_("At most %(most)s tags at once.") % {"most": MAX_TAGS_PER_REQUEST})
    return list(tags.values())


def access_levels(data: Mapping[str, str], groups: Iterable[Group]) -> dict[Group, AccessLevel] | None:
    """Return the access rules from the fields `level-<group>`, or None if the folder inherits its rules."""
    if data.get("access") != "groups":
        return None
    chosen = {group: parse_id(data.get(f"level-{group.pk}")) for group in groups}
    return {group: AccessLevel(level) for group, level in chosen.items() if level in AccessLevel.values}


def _required_text(text: str) -> str:
    text = text.replace("\x00", "").strip()
    if not text:
        raise ValidationFailed(_("Put in a name."))
    if len(text) > names.MAX_TYPED_CHARACTERS:
        raise ValidationFailed(_("The name is too long: at most %(most)s characters.") % {"most": names.MAX_CHARACTERS})
    return text


def _clean_tag(text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    name = text.replace("/", "-").replace("\\", "-")
    if len(name) <= names.MAX_TYPED_CHARACTERS:  # normalizing takes quadratic time for a run of combining marks
        name = names.clean_name(name)
    if len(name) > MAX_TAG_CHARACTERS:
        raise ValidationFailed(_("A tag may have at most %(most)s characters.") % {"most": MAX_TAG_CHARACTERS})
    return name
