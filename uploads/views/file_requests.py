"""File requests of members: create one for a folder, list them, and close them."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from uploads.errors import Forbidden
from uploads.forms import FileRequestForm
from uploads.listing import visible_folder_ids
from uploads.models import FileRequest, Folder
from uploads.services import file_requests
from uploads.views.library import breadcrumbs
from uploads.views.responses import html_errors, no_store, request_user

MAX_LISTED = 200


@require_safe
@html_errors
def file_request_list(request: HttpRequest) -> HttpResponse:
    """List the user's file requests, newest first; managers see everyone's."""
    user = request_user(request)
    rows = FileRequest.objects.all().visible_to(user).select_related("folder", "created_by")
    requests = list(rows.order_by("-created_at", "-id")[:MAX_LISTED])
    visible = visible_folder_ids({row.folder_id for row in requests}, user)
    context = {"requests": [(row, row.folder_id in visible) for row in requests], "user_id": user.pk}
    return render(request, "uploads/file_requests.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@html_errors
def request_files(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the form of a file request for this folder, then its link, which is shown once."""
    user = request_user(request)
    folder = get_object_or_404(Folder.objects.visible_to(user), pk=pk)
    if not file_requests.can_request(folder, user):
        raise Forbidden(_("You don't have permission to request files for this folder."))
    form = FileRequestForm(request.POST) if request.method == "POST" else FileRequestForm()
    context = {"folder": folder, "crumbs": breadcrumbs(user, folder), "form": form}
    if request.method != "POST":
        return render(request, "uploads/request_files.html", context)
    if not form.is_valid():
        return render(request, "uploads/request_files.html", context, status=400)
    file_request, token = file_requests.create(folder, by=user, **form.cleaned_data)
    context |= {"file_request": file_request, "link": request.build_absolute_uri(reverse("guest_upload", args=[token]))}
    return no_store(render(request, "uploads/file_request_created.html", context))


@require_POST
@html_errors
def close_file_request(request: HttpRequest, pk: int) -> HttpResponse:
    user = request_user(request)
    file_request = get_object_or_404(FileRequest.objects.all().visible_to(user).select_related("folder"), pk=pk)
    if file_requests.close(file_request, by=user):
        messages.success(request, _("Closed the file request “%(title)s”.") % {"title": file_request.title})
    return redirect("file_requests")
