"""What of django-allauth's account flows is ours."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _

from uploads.accounts import device_cookie
from uploads.models.audit import current_client_ip

# Of all that allauth would say, by its own template; the rest shows on the page by itself.
MESSAGES = {
    "account/messages/password_changed.txt": _("Your password is changed. Everywhere else you are signed out."),
    "mfa/messages/totp_activated.txt": _("Your second factor is set up. Everywhere else you are signed out."),
    "mfa/messages/totp_deactivated.txt": _("Your second factor is removed."),
}


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Nobody signs up, nothing is mailed, and every way in ends here."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def is_ajax(self, request: HttpRequest) -> bool:
        return False

    def is_safe_url(self, url: str | None) -> bool:
        """Only paths of our own: not even another host of ALLOWED_HOSTS."""
        request = context.request
        ours = url_has_allowed_host_and_scheme(url, {request.get_host()}, require_https=request.is_secure())
        return ours and str(url).startswith("/")

    def get_client_ip(self, request: HttpRequest) -> str:
        return current_client_ip() or ""

    def pre_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse | None:
        """A closed account is told from no other; only single sign-on comes so far with one."""
        if not user.is_active:
            raise PermissionDenied
        return None

    def login(self, request: HttpRequest, user: User) -> None:
        """Closed between the password and the code."""
        if not user.is_active:
            raise PermissionDenied
        super().login(request, user)

    def post_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse:
        answer: HttpResponse = super().post_login(request, user, **kwargs)
        device_cookie.set_device_cookie(request, answer, user.get_username())
        return answer

    def send_notification_mail(self, *args: Any, **kwargs: Any) -> None:
        """The activity log tells; no mail is needed anywhere."""

    def add_message(
        self,
        request: HttpRequest,
        level: int,
        message_template: str | None = None,
        message_context: dict[str, Any] | None = None,
        extra_tags: str = "",
        message: str | None = None,
    ) -> None:
        told = message or MESSAGES.get(message_template or "")
        if told:
            messages.add_message(request, level, str(told))
