"""Share files by link."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import User
from django.utils.translation import gettext_lazy

from uploads.actions.base import BulkAction, register
from uploads.models import Action


@register
class ShareAction(BulkAction):
    """A button alone: its view shows the form of the link."""

    name, order, url_name, in_admin, changes_files = "share", 35, "share_selection", False, False
    takes_folders = True  # one at a time
    label, icon = gettext_lazy("Share"), "share"
    audit_action = Action.SHARE

    def is_offered_to(self, user: User) -> bool:
        return settings.SHARE_LINKS and user.has_perm("uploads.share_file")
