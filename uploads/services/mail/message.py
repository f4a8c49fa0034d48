"""A mail as text and HTML, from a template and its context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template import Context
from django.template.loader import get_template
from django.utils import translation

from uploads.site_url import absolute_url

MAX_SUBJECT_CHARACTERS = 200


def render(template: str, *, to: str, language: str, context: Mapping[str, Any], name: str) -> EmailMultiAlternatives:
    """Return the mail. The subject is one line of printable characters, whatever the context contains."""
    values = {**context, "site_url": absolute_url("/")}
    with translation.override(language):
        # a plain text is no HTML: nothing is escaped
        text_template: Any = get_template(f"mail/{template}.txt")
        text = text_template.template.render(Context(values, autoescape=False)).strip()
        html = get_template(f"mail/{template}.html").render({**values, "language": language})
    first_line, _, body = text.partition("\n")
    domain = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].strip(" >") or "localhost"
    message = EmailMultiAlternatives(
        _single_line(first_line),
        body.strip() + "\n",
        settings.DEFAULT_FROM_EMAIL,
        [to],
        # the same in each try, so that receivers recognize a repeated mail; RFC 3834 stops automatic replies
        headers={"Message-ID": f"<{name}.amalga@{domain}>", "Auto-Submitted": "auto-generated"},
    )
    message.attach_alternative(html, "text/html")
    return message


def _single_line(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:MAX_SUBJECT_CHARACTERS]
