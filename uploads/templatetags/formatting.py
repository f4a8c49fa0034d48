"""Filters that format sizes, times and types of files."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from django import template
from django.utils import dateformat, timezone
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.translation import gettext as _

from uploads.humanize import humanize_bytes

register = template.Library()

NO_BREAK_SPACE = "\u00a0"
# Icons within the categories of documents and texts, by extension.
ICONS = {
    "sheet": {".csv", ".numbers", ".ods", ".tsv", ".xls", ".xlsb", ".xlsm", ".xlsx"},
    "slides": {".key", ".odp", ".pps", ".ppsx", ".ppt", ".pptm", ".pptx"},
    "code": {
        ".bash", ".c", ".cc", ".cpp", ".cs", ".css", ".go", ".h", ".hpp", ".html", ".java", ".js", ".json", ".jsx",
        ".kt", ".lua", ".php", ".pl", ".py", ".r", ".rb", ".rs", ".scss", ".sh", ".sql", ".swift", ".toml", ".ts",
        ".tsx", ".xml", ".yaml", ".yml",
    },
}  # fmt: skip
ICON_OF = {extension: icon for icon, extensions in ICONS.items() for extension in extensions}


@register.filter(name="bytes")
def filesize(size: int | None) -> str:
    """Format a size as "12.4 MB"."""
    return "" if size is None else humanize_bytes(size).replace(" ", NO_BREAK_SPACE)


@register.filter
def icon(file: Any) -> str:
    """Return the name of the icon of a file, by its category and, in documents and texts, its extension."""
    category = str(file.category)
    if category not in {"document", "text"}:
        return category
    return ICON_OF.get(PurePosixPath(file.name).suffix.lower(), category)


@register.filter
def exact_bytes(size: int | None) -> str:
    """Format a size as "12,400,112 bytes", for tooltips."""
    if size is None:
        return ""
    return _("%(number)s bytes") % {"number": number_format(size, force_grouping=True)}


@register.filter
def dimensions(width: int, height: int) -> str:
    """Format a size in pixels as "4,032 × 3,024 pixels"."""
    sides = {"width": number_format(width, force_grouping=True), "height": number_format(height, force_grouping=True)}
    return _("%(width)s × %(height)s pixels") % sides


@register.filter
def when(time: datetime | None) -> str:
    """Format a time as "today 14:02", "yesterday 9:30", "3 Nov" or "3 Nov 2024"."""
    if time is None:
        return ""
    local = timezone.localtime(time)
    today = timezone.localdate()
    days = (today - local.date()).days
    if days in {0, 1}:
        return f"{_('yesterday') if days else _('today')} {dateformat.time_format(local, 'G:i')}"
    return dateformat.format(local, "j M" if local.year == today.year else "j M Y")


@register.filter
def time_element(time: datetime | None, style: str = "") -> str:
    """Return a <time> element that timezone.js writes in the browser's zone on public pages; style: "exact" or ""."""
    if time is None:
        return ""
    exact = exact_time(time)
    text = dateformat.format(timezone.localtime(time), "j M Y G:i T") if style == "exact" else when(time)
    html = '<time datetime="{}" title="{}" data-style="{}">{}</time>'
    return format_html(html, time.isoformat(), exact, style, text)


@register.filter
def exact_time(time: datetime | None) -> str:
    """Format a time as "3 Nov 2026 14:02:11 UTC", for tooltips."""
    return dateformat.format(timezone.localtime(time), "j M Y G:i:s T") if time else ""
