"""What was left out of the comparison, and why, in words."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.translation import gettext_lazy as _

LEFT = {
    "moving": _("objects of files that are being uploaded or removed"),
    "young": _("too young to be judged"),
    "changed": _("changed while they were looked at"),
    "elsewhere": _("being moved to or from another store"),
    "marked": _("marked as missing before, and still so"),
    "others": _("objects that are not ours, outside f/ and p/"),
}


def left_in_words(left: Mapping[str, int]) -> list[str]:
    """One line for each reason, like `12 too young to be judged`."""
    return [f"{count:,} {LEFT[why]}" for why, count in left.items() if why in LEFT]
