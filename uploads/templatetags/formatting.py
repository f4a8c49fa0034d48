"""Filters that format sizes, times and types of files."""

from __future__ import annotations

from datetime import datetime

from django import template
from django.utils import timezone
from django.utils.dates import MONTHS_3
from django.utils.formats import get_format, number_format
from django.utils.translation import gettext as _

from uploads.media_types import category_of

register = template.Library()

UNITS = ("B", "kB", "MB", "GB", "TB")
NO_BREAK_SPACE = "\u00a0"


@register.filter(name="bytes")
def filesize(size: int | None) -> str:
    """Format a size as "12.4 MB", in powers of ten. No decimals below one megabyte or from 100 on."""
    if size is None:
        return ""
    amount, unit = float(size), 0
    while unit < len(UNITS) - 1 and round(amount) >= 1000:
        amount /= 1000
        unit += 1
    amount = round(amount, 0 if unit < 2 or amount >= 100 else 1)
    if amount < 1000 and amount == int(amount):  # most sizes need no localization
        return f"{int(amount)}{NO_BREAK_SPACE}{UNITS[unit]}"
    text = number_format(amount, decimal_pos=0 if amount == int(amount) else 1, force_grouping=True)
    return f"{text}{NO_BREAK_SPACE}{UNITS[unit]}"


@register.filter(name="exact_bytes")
def exact_bytes(size: int | None) -> str:
    """Format a size as "12,400,112 bytes", for tooltips."""
    return DateFormatter().exact_bytes(size)


@register.filter
def when(time: datetime | None) -> str:
    """Format a time as "today 14:02", "yesterday 9:30", "3 Nov" or "3 Nov 2024"."""
    return DateFormatter().when(time)


@register.filter
def exact_time(time: datetime | None) -> str:
    """Format a time as "3 Nov 2026 14:02:11 UTC", for tooltips."""
    return DateFormatter().exact_time(time)


class DateFormatter:
    """Formats many sizes and times in the current language and time zone, which it looks up once.

    It replaces Django's `date` formats, which cost a list more time than its queries.
    """

    def __init__(self) -> None:
        self.zone = timezone.get_current_timezone()
        self.now = timezone.now().astimezone(self.zone)
        self.today = self.now.date()
        self.separator = get_format("THOUSAND_SEPARATOR")
        self.bytes = _("%(number)s bytes")
        self.days = (_("today"), _("yesterday"))
        self.months: dict[int, str] = {}

    def exact_bytes(self, size: int | None) -> str:
        return "" if size is None else self.bytes % {"number": f"{size:,}".replace(",", self.separator)}

    def when(self, time: datetime | None) -> str:
        if time is None:
            return ""
        local = time.astimezone(self.zone)
        days = (self.today - local.date()).days
        if days in {0, 1}:
            return f"{self.days[days]} {local.hour}:{local.minute:02}"
        year = "" if local.year == self.now.year else f" {local.year}"
        return f"{local.day} {self._month(local.month)}{year}"

    def exact_time(self, time: datetime | None) -> str:
        if time is None:
            return ""
        local = time.astimezone(self.zone)
        clock = f"{local.hour}:{local.minute:02}:{local.second:02} {local.tzname()}"
        return f"{local.day} {self._month(local.month)} {local.year} {clock}"

    def _month(self, number: int) -> str:
        """Return the short name of the month, like Django's format `M`."""
        if number not in self.months:
            self.months[number] = str(MONTHS_3[number]).title()
        return self.months[number]


@register.filter
def kind(media_type: str) -> str:
    """Return the category of a media type, which selects its icon."""
    return category_of(media_type)
