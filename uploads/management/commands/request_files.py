"""Create a file request, and print its link."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.urls import reverse

from uploads.forms import FileRequestForm
from uploads.management.arguments import days, find_person, require_valid
from uploads.management.base import AmalgaCommand, CommandRefused, report_errors
from uploads.models import Ask, Folder
from uploads.models.links import absolute_url
from uploads.services import file_requests


class Command(AmalgaCommand):
    help = "Create a link with which people without an account upload files to a folder."
    epilog = """
    Prints the link as the last line. It cannot be shown again. The files belong to the person
    who requests them, by default the creator of the folder.

    Changes:        adds one file request, and one entry to the audit log.
    Never changes:  files, folders and other requests.

    Exit codes:
      0  created
      1  the database is unavailable
      2  refused: no such folder or person, no permission, or invalid limits

    Example:
      manage.py request_files 12 --expires 7d --title "Photos of the party" --types .jpg,.png
    """
    json_keys = {
        "id": "id of the file request",
        "folder": "name of the folder",
        "owner": "name of the person who gets the files",
        "expires": "when it closes",
        "link": "the link",
    }

    def add_arguments(self, parser: CommandParser) -> None:
        request = parser.add_argument_group("file request")
        request.add_argument("folder", metavar="FOLDER_ID", type=int, help="number in the address of the folder")
        request.add_argument("--by", metavar="USERNAME", help="person who gets the files")
        request.add_argument("--title", help="heading of the page; the name of the folder by default")
        request.add_argument("--text", default="", help="text below the heading")
        request.add_argument(
            "--expires", type=days, default=settings.FILE_REQUEST_DAYS, metavar="7d",
            help="how long it is open, in days or weeks: 7d, 2w",
        )  # fmt: skip
        request.add_argument(
            "--name", choices=Ask.values, default=Ask.OPTIONAL.value, metavar="WHEN",
            help="ask for a name: no, optional or required",
        )  # fmt: skip
        request.add_argument(
            "--address", choices=Ask.values, default=Ask.OPTIONAL.value, metavar="WHEN",
            help="ask for an email address: no, optional or required",
        )  # fmt: skip
        limits = parser.add_argument_group("limits")
        limits.add_argument("--max-files", default="100", metavar="N", help="number of files; 100 by default")
        limits.add_argument("--max-file-size", default="2 GB", metavar="SIZE", help="largest file; 2 GB by default")
        limits.add_argument("--max-size", default="20 GB", metavar="SIZE", help="total size; 20 GB by default")
        limits.add_argument("--types", default="", metavar="LIST", help="accepted types, such as .pdf,image/*")

    def handle(self, *args: Any, **options: Any) -> None:
        with report_errors("Run this again later."):
            folder = Folder.objects.living().select_related("created_by").filter(pk=options["folder"]).first()
            if folder is None:
                raise CommandRefused(f"No folder with the id {options['folder']}.")
            person = find_person(options["by"], creator=folder.created_by)
            file_request, token = file_requests.create(folder, by=person, **self._fields(folder, options))
            link = absolute_url(reverse("guest_upload", args=[token]))
        values = {
            "id": file_request.pk, "folder": folder.name, "owner": person.get_username(),
            "expires": file_request.expires_at,
        }  # fmt: skip
        self.write_link(values, link)

    def _fields(self, folder: Folder, options: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of the request, validated as those of the page."""
        arguments = {
            "title": options["title"] or folder.name[:200], "text": options["text"], "days": f"{options['expires']:g}",
            "max_files": options["max_files"], "max_file_bytes": options["max_file_size"],
            "max_bytes": options["max_size"], "accepted_types": options["types"], "ask_name": options["name"],
            "ask_address": options["address"],
        }  # fmt: skip
        return require_valid(FileRequestForm(arguments))
