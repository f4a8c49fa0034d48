"""Template context of every page: the upload limits, the counts in the navigation, and the version for staff."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from amalga import __version__
from uploads.api.serializers import MAX_FILES
from uploads.listing import load_sidebar


def uploader(request: HttpRequest) -> dict[str, Any]:
    """Return `uploader`, None for users who may not upload, `may_share`, `unfinished_count` of the user's uploads,
    `unseen_count` of their notifications, and `amalga_version`, empty for all but staff.

    The counts are lazy: one query loads both if a template uses them and the view does not set them. Error pages of a
    broken request have no user; they get none, without a query.
    """
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {"uploader": None, "unfinished_count": 0, "unseen_count": 0, "may_share": False, "amalga_version": ""}
    sidebar = SimpleLazyObject(lambda: load_sidebar(user))
    may_upload = user.has_perm("uploads.add_file")
    return {
        "uploader": {
            "max_bytes": settings.UPLOAD_MAX_BYTES,
            "part_bytes": settings.UPLOAD_PART_BYTES,
            "max_files_per_call": MAX_FILES,
        }
        if may_upload
        else None,
        "amalga_version": __version__ if user.is_staff else "",
        "unfinished_count": SimpleLazyObject(lambda: sidebar.unfinished),
        "may_share": settings.SHARE_LINKS and user.has_perm("uploads.share_file"),
        "unseen_count": SimpleLazyObject(lambda: sidebar.unseen),
    }
