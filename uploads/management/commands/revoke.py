"""Revoke a public link."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.core.management.base import CommandParser

from uploads.accounts import invitations
from uploads.management.base import AmalgaCommand, CommandRefused, report_errors
from uploads.models import FileRequest, Invitation, PublicLink, ShareLink
from uploads.models.links import TOKEN
from uploads.services import file_requests, share_links


class Command(AmalgaCommand):
    help = "Revoke a share link, a file request or another public link."
    epilog = """
    Changes:        the link stops working. Adds one entry to the audit log.
    Never changes:  files, folders and people.

    Exit codes:
      0  revoked, or it was revoked before
      1  the database is unavailable
      2  no such link

    Example:
      manage.py revoke https://files.example.org/s/Kq3-vN0xYx7w2h1cRZr8bA5pQmT4uLsE/
    """
    json_keys = {"kind": "kind of the link", "id": "its id", "revoked": "whether it worked until now"}

    def add_arguments(self, parser: CommandParser) -> None:
        links = parser.add_argument_group("link")
        links.add_argument("link", metavar="LINK", help="the link, or the token in it")

    def handle(self, *args: Any, **options: Any) -> None:
        with report_errors("Run this again later."):
            link = find_link(options["link"])
            if link is None:
                raise CommandRefused("No such link. Copy all of it.")
            revoked = _revoke(link)
        kind = str(link._meta.verbose_name)
        if self.as_json:
            self.write_json({"kind": kind, "id": link.pk, "revoked": revoked})
        elif revoked:
            self.stdout.write(f"Revoked {kind} {link.pk}.")
        else:
            self.stdout.write(f"The {kind} {link.pk} was revoked before.")


def find_link(text: str) -> PublicLink | None:
    """Return the link of any kind whose token is, or is in, this text."""
    tokens = [part for part in text.split("/") if TOKEN.fullmatch(part)]
    for token in tokens:
        for model in apps.get_models():
            if issubclass(model, PublicLink) and (link := model.objects.by_token(token)):
                return link
    return None


def _revoke(link: PublicLink) -> bool:
    revoke = REVOKERS.get(type(link))
    if revoke is None:
        return bool(type(link).objects.filter(pk=link.pk).revoke(by=None))
    return bool(revoke(link))


# Each kind has a service that also records it.
REVOKERS: dict[type[PublicLink], Callable[[Any], int]] = {
    ShareLink: lambda link: share_links.revoke(ShareLink.objects.filter(pk=link.pk), by=None),
    Invitation: lambda link: invitations.revoke(link, by=None),
    FileRequest: lambda link: file_requests.close(link, by=None),
}
