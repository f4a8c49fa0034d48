"""Answer a request for a file's stored bytes: a redirect to the storage, or the head alone."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from uploads import delivery, s3, services
from uploads.errors import ObjectRefused, StoreUnavailable
from uploads.models import File
from uploads.views.answers import head_response, redirect_to_storage
from uploads.views.people import signed_in


def deliver(request: HttpRequest, file: File, *, inline: bool = False) -> HttpResponse:
    """Return the answer to GET or HEAD of `file`, which the person may see; a GET is recorded in the activity.

    Raises BytesMissing where the storage has lost the bytes, and FilesRefused where it does not give them out.
    """
    refused = False
    try:
        services.learn_encoding(file)
    except ObjectRefused:
        refused = True
    except StoreUnavailable:  # the storage itself answers the person who is sent there
        pass
    content_type, disposition = delivery.headers(file, inline=inline)
    if refused or file.refusal:
        services.require_readable([file])
    if request.method == "HEAD":
        return head_response(size=file.size, content_type=content_type, disposition=disposition)
    url = s3.download_url(file.key, disposition=disposition, content_type=content_type, store=file.store)
    services.note_download(file, by=signed_in(request), looking=inline)
    return redirect_to_storage(url)
