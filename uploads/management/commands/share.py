"""Create a share link, and print it."""

from __future__ import annotations

import sys
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import CommandParser
from django.urls import reverse

from uploads.forms import ShareForm, parse_id
from uploads.management.arguments import days, find_person, require_valid
from uploads.management.base import AmalgaCommand, CommandRefused, report_errors
from uploads.models import File, Folder, ShareLink
from uploads.models.links import absolute_url
from uploads.services import share_links
from uploads.services.share_links import ShareOptions


class Command(AmalgaCommand):
    help = "Create a link with which people without an account open a file or a folder."
    epilog = """
    Prints the link as the last line. It cannot be shown again. The link has the rights of one
    person, by default the owner of the file or the creator of the folder, and ends with them.

    Changes:        adds one share link, and one entry to the audit log.
    Never changes:  files, folders and other links.

    Exit codes:
      0  created
      1  the database is unavailable
      2  refused: no such file, folder or person, no permission, or invalid options

    Example:
      manage.py share 12 --expires 7d --max-downloads 10
    """
    json_keys = {
        "id": "id of the share link",
        "name": "name of the file or folder",
        "owner": "name of the person whose rights the link has",
        "expires": "when it expires, null for never",
        "link": "the link",
    }

    def add_arguments(self, parser: CommandParser) -> None:
        share = parser.add_argument_group("share link")
        share.add_argument(
            "target", metavar="FILE_OR_FOLDER_ID", help="id in the address of the file, or number of the folder"
        )  # fmt: skip
        share.add_argument("--by", metavar="USERNAME", help="person whose rights the link has")
        share.add_argument(
            "--expires", type=days, default=settings.SHARE_LINK_DAYS, metavar="7d",
            help=f"how long it works: 12h, 7d, 2w; {settings.SHARE_LINK_DAYS}d by default",
        )  # fmt: skip
        share.add_argument("--note", default="", metavar="TEXT", help="text above the files")
        limits = parser.add_argument_group("limits")
        limits.add_argument(
            "--password-stdin", action="store_true", help="read a password for the link from standard input"
        )  # fmt: skip
        limits.add_argument("--max-downloads", default="", metavar="N", help="number of downloads")
        limits.add_argument("--view-only", action="store_true", help="show previews, without downloads")

    def handle(self, *args: Any, **options: Any) -> None:
        with report_errors("Run this again later."):
            target = self._target(options["target"])
            creator = target.owner if isinstance(target, File) else target.created_by
            person = find_person(options["by"], creator=creator)
            link, token = self._share(target, self._options(options), person)
        values = {"id": link.pk, "name": link.name, "owner": person.get_username(), "expires": link.expires_at}
        url = absolute_url(reverse("shared", args=[token]))
        self.write_link(values, url)

    def _target(self, text: str) -> File | Folder:
        if (pk := parse_id(text)) is not None:
            folder = Folder.objects.living().select_related("created_by").filter(pk=pk).first()
            if folder is None:
                raise CommandRefused(f"No folder with the id {text}.")
            return folder
        try:
            link = UUID(text)
        except ValueError:
            raise CommandRefused(f"“{text}” is neither the id of a file nor that of a folder.") from None
        file = File.objects.listed().by_permanent_id(link).select_related("owner").first()
        if file is None:
            raise CommandRefused(f"No file with the id {text}.")
        return file

    def _share(self, target: File | Folder, options: ShareOptions, person: User) -> tuple[ShareLink, str]:
        if isinstance(target, File):
            visible = File.objects.visible_to(person).filter(pk=target.pk).exists()
        else:
            visible = Folder.objects.visible_to(person).filter(pk=target.pk).exists()
        if not visible:
            raise CommandRefused(f"“{person.get_username()}” cannot see “{target.name}”.")
        if isinstance(target, File):
            return share_links.share_file(target, options, by=person)
        return share_links.share_folder(target, options, by=person)

    def _options(self, options: dict[str, Any]) -> ShareOptions:
        """Return the options, validated as those of the page; only the expiry can be shorter than a day."""
        password = sys.stdin.readline().rstrip("\r\n") if options["password_stdin"] else ""
        if options["password_stdin"] and not password:
            raise CommandRefused("Standard input contains no password.")
        arguments = {
            "days": "1", "password": password, "max_downloads": options["max_downloads"], "note": options["note"],
            "view_only": options["view_only"],
        }  # fmt: skip
        return ShareOptions(**require_valid(ShareForm(arguments)) | {"days": options["expires"]})
