"""The installable web app: its manifest, its service worker, and what the server says about files shared with it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.contrib.staticfiles import finders
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.urls import reverse
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from uploads.views.responses import request_user

WORKER = "uploads/js/share-worker.js"
ICONS = [
    {"src": "uploads/favicon.svg", "sizes": "any", "type": "image/svg+xml", "purpose": "any"},
    {"src": "uploads/icon-192.png", "sizes": "192x192", "type": "image/png", "purpose": "any"},
    {"src": "uploads/icon-512.png", "sizes": "512x512", "type": "image/png", "purpose": "any"},
    {"src": "uploads/icon-maskable-512.png", "sizes": "512x512", "type": "image/png", "purpose": "maskable"},
]
# --surface and --background of amalga.css in the light scheme; base.html has the color of each scheme.
THEME_COLOR, BACKGROUND_COLOR = "#ffffff", "#fbfaf8"
MANIFEST_SECONDS = 3600


@login_not_required
@require_safe
def manifest(request: HttpRequest) -> HttpResponse:
    """Return the web app manifest (W3C), with the share target: browsers request it without cookies."""
    library = reverse("library")
    content: dict[str, Any] = {
        "id": library,
        "name": "Amalga",
        "short_name": "Amalga",
        "description": _("Your team's files"),
        "lang": get_language(),
        "start_url": library,
        "scope": library,
        "display": "standalone",
        "theme_color": THEME_COLOR,
        "background_color": BACKGROUND_COLOR,
        "icons": [{**icon, "src": static(icon["src"])} for icon in ICONS],
        "share_target": {
            "action": reverse("share_target"),
            "method": "POST",
            "enctype": "multipart/form-data",
            "params": {"files": [{"name": "files", "accept": ["*/*"]}]},
        },
    }
    response = JsonResponse(content, content_type="application/manifest+json")
    response["Cache-Control"] = f"private, max-age={MANIFEST_SECONDS}"
    return response


@login_not_required
@require_safe
def share_worker(request: HttpRequest) -> HttpResponse:
    """Return the service worker. Its scope is the folder of this address, so that no other page waits for it."""
    return HttpResponse(_worker_source(), content_type="text/javascript; charset=utf-8")


@csrf_exempt  # other apps send this form; nothing is read or changed
@login_not_required
@require_POST
def share_target(request: HttpRequest) -> HttpResponse:
    """Explain what to do, in a browser where the service worker is not registered. The body is not read."""
    context = {"has_session": settings.SESSION_COOKIE_NAME in request.COOKIES}
    return HttpResponse(render_to_string("uploads/share_target.html", context), status=409)


share_target.guests_send_bodies = True  # type: ignore[attr-defined]


def add_share_message(request: HttpRequest) -> None:
    """Show why files shared with Amalga can't be uploaded, on the page that the service worker opens."""
    texts = {
        "none": _("The other app shared no file, so there is nothing to upload. Amalga stores files only."),
        "failed": _("This device couldn't keep the shared files. Open Amalga and upload them with the Upload button."),
    }
    result = request.GET.get("shared", "")
    if result in {"files", *texts} and not request_user(request).has_perm("uploads.add_file"):
        messages.warning(request, _("You don't have permission to upload, so the shared files were removed."))
    elif result in texts:
        messages.warning(request, texts[result])


@functools.cache
def _worker_source() -> bytes:
    path = finders.find(WORKER)
    if not isinstance(path, str):
        raise FileNotFoundError(WORKER)
    return Path(path).read_bytes()
