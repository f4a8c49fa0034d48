"""Download files as a zip."""

from __future__ import annotations

from django.utils.translation import gettext_lazy

from uploads.actions.base import BulkAction, register
from uploads.models import Action


@register
class DownloadZipAction(BulkAction):
    """A button alone: its view streams the zip, and records the download."""

    name, order, url_name, in_admin, changes_files = "zip", 30, "download_zip", False, False
    takes_folders = True
    label, icon = gettext_lazy("Download as ZIP"), "download"
    audit_action = Action.DOWNLOAD
