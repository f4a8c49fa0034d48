"""Many files at once, as a zip."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from uploads import names, services
from uploads.errors import BadInput
from uploads.forms import Choice
from uploads.views.answers import told_on_a_page
from uploads.views.people import signed_in


@require_http_methods(["GET", "HEAD", "POST"])
@told_on_a_page
def download_zip(request: HttpRequest) -> HttpResponseBase:
    """The chosen files, or none of them: what is missing is told before the download begins."""
    user = signed_in(request)
    sent = request.POST if request.method == "POST" else request.GET
    choice = Choice.read(sent, sent.getlist("file"), user)
    if choice.unusable:
        raise BadInput(_("The list of files could not be read. Go back and choose again."))
    bundle = services.bundle(user, choice.links)
    headers = {
        "Cache-Control": "private, no-store",
        "Content-Type": "application/zip",
        "Content-Length": str(bundle.length),
        "Content-Disposition": names.disposition(bundle.name, inline=False),
    }
    if request.method == "HEAD":
        return HttpResponse(headers=headers)
    return StreamingHttpResponse(services.open_zip(bundle, by=user), headers=headers)
