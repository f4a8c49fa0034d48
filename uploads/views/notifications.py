"""A person's own notifications, and where they want to see them."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from uploads.forms import parse_id
from uploads.models import OPERATOR_KINDS, Notification, NotificationKind, NotificationPreference
from uploads.services import mail
from uploads.services.notifications import describe, operators
from uploads.views.responses import request_user

PAGE_SIZE = 50


@require_safe
def notifications(request: HttpRequest) -> HttpResponse:
    """List the newest notifications; `before` is the id of the last one on the page before."""
    user = request_user(request)
    rows = Notification.objects.shown_to(user)
    before = parse_id(request.GET.get("before"))
    if before:
        rows = rows.filter(pk__lt=before)
    page = list(rows[: PAGE_SIZE + 1])
    next_url = f"{request.path}?before={page[PAGE_SIZE - 1].pk}" if len(page) > PAGE_SIZE else None
    context = {
        "notifications": describe(page[:PAGE_SIZE], user),
        "first_url": request.path if before else None,
        "next_url": next_url,
    }
    return render(request, "uploads/notifications.html", context)


@require_POST
def read_notification(request: HttpRequest, pk: int) -> HttpResponse:
    """Mark one notification as read, and go to what it is about if it was opened by its text."""
    user = request_user(request)
    notification = get_object_or_404(Notification.objects.shown_to(user), pk=pk)
    Notification.objects.filter(pk=pk).mark_read()
    (message,) = describe([notification], user)
    return redirect(message.url if message.url and "open" in request.POST else "notifications")


@require_POST
def read_all_notifications(request: HttpRequest) -> HttpResponse:
    """Mark all notifications as read that the page could show."""
    rows = Notification.objects.shown_to(request_user(request))
    if last := parse_id(request.POST.get("last")):
        rows = rows.filter(pk__lte=last)
    rows.mark_read()
    return redirect("notifications")


@require_http_methods(["GET", "HEAD", "POST"])
def notification_settings(request: HttpRequest) -> HttpResponse:
    """Choose for each kind whether it appears in the application, and whether it is mailed."""
    user = request_user(request)
    saved = {row.kind: row for row in NotificationPreference.objects.filter(user=user)}
    rows = [saved.get(kind) or NotificationPreference(user=user, kind=kind) for kind in _kinds(user)]
    is_mailed = mail.is_configured() and bool(user.email)
    if request.method == "POST":
        # browsers do not send fields that are disabled
        values = {
            row.kind: (
                f"in_app-{row.kind}" in request.POST,
                f"mail-{row.kind}" in request.POST if is_mailed else row.mail,
            )
            for row in rows
        }
        NotificationPreference.objects.set(user, values)
        messages.success(request, _("Notification settings saved."))
        return redirect("notification_settings")
    context = {
        "preferences": rows,
        "mail_is_configured": mail.is_configured(),
        "is_mailed": is_mailed,
        "back": reverse("notifications"),
    }
    return render(request, "uploads/notification_settings.html", context)


def _kinds(user: User) -> list[str]:
    """Return the kinds that this user can get."""
    is_operator = operators().filter(pk=user.pk).exists()
    return [kind.value for kind in NotificationKind if is_operator or kind not in OPERATOR_KINDS]
