"""The adapters: what the project changes in django-allauth's flows of accounts and second factors."""

from __future__ import annotations

import base64
import logging
import secrets
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from uploads.accounts import factors, throttling
from uploads.encryption import InvalidToken, decrypt, encrypt
from uploads.models.audit import current_client_ip

logger = logging.getLogger(__name__)

MFA_KEY_PURPOSE = b"amalga second factors"
UNKNOWN_ADDRESS = "0.0.0.0"  # noqa: S104  # of sign-ins outside a request; RFC 1122, 3.2.1.3
# The messages that are shown, by allauth's template. What the others say is visible on the page anyway.
MESSAGES = {
    "account/messages/password_changed.txt": _("Password changed. You've been signed out of all other sessions."),
    "mfa/messages/totp_activated.txt": _(
        "Two-factor authentication turned on. You've been signed out of all other sessions."
    ),
    "mfa/messages/webauthn_added.txt": _("Passkey added. You've been signed out of all other sessions."),
    "mfa/messages/webauthn_removed.txt": _("Passkey removed."),
    "mfa/messages/totp_deactivated.txt": _("Authenticator app removed."),
}


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Turn off sign-up and mail, and check every sign-in, whichever method it used."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def is_ajax(self, request: HttpRequest) -> bool:
        return False

    def is_safe_url(self, url: str | None) -> bool:
        """Return whether `url` is a path on the request's host; other hosts of ALLOWED_HOSTS are refused too."""
        request = context.request
        is_same_host = url_has_allowed_host_and_scheme(url, {request.get_host()}, require_https=request.is_secure())
        return is_same_host and str(url).startswith("/")

    def get_client_ip(self, request: HttpRequest) -> str:
        return current_client_ip() or UNKNOWN_ADDRESS

    def pre_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse | None:
        """Refuse inactive accounts, and others than single sign-on with SSO_ONLY. The forms have done so before."""
        if not user.is_active or not (factors.may_sign_in_here(user) or factors.is_signed_in_by_sso(request, user)):
            raise PermissionDenied
        return None

    def login(self, request: HttpRequest, user: User) -> None:
        """Refuse accounts that were deactivated between the password and the code."""
        if not user.is_active:
            raise PermissionDenied
        super().login(request, user)

    def post_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse:
        response: HttpResponse = super().post_login(request, user, **kwargs)
        throttling.set_device_cookie(request, response, user.get_username())
        return response

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, Any]]:
        """Return how the user can confirm who they are: not by a password that does not open their account."""
        methods: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        if user.is_authenticated and not factors.may_sign_in_here(user):
            methods = [method for method in methods if method["id"] != "reauthenticate"]
        if not factors.passkeys_are_available(self.request):
            methods = [method for method in methods if not method["id"].endswith(":webauthn")]
        return methods

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """Require it only of users who have a way: without one, they sign in with single sign-on alone."""
        has_way = bool(self.get_reauthentication_methods(self.request.user))
        return has_way and bool(super().is_reauthentication_required(app=app, **kwargs))

    def send_notification_mail(self, *args: Any, **kwargs: Any) -> None:
        """Send nothing: the audit log records the event."""

    def add_message(
        self,
        request: HttpRequest,
        level: int,
        message_template: str | None = None,
        message_context: dict[str, Any] | None = None,
        extra_tags: str = "",
        message: str | None = None,
    ) -> None:
        text = message or MESSAGES.get(message_template or "")
        if text:
            messages.add_message(request, level, str(text))


class EncryptedMFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Encrypt the secrets in the database, so that a copy of it contains no usable second factor."""

    def encrypt(self, text: str) -> str:
        return encrypt(text, purpose=MFA_KEY_PURPOSE)

    def decrypt(self, encrypted_text: str) -> str:
        """Return the secret, or a random one that no code matches if SECRET_KEY was replaced."""
        try:
            return decrypt(encrypted_text, purpose=MFA_KEY_PURPOSE)
        except InvalidToken:
            logger.warning("two_factor_unreadable reason=secret_key_changed")
            return base64.b32encode(secrets.token_bytes(20)).decode()

    def generate_authenticator_name(self, user: Any, type: Authenticator.Type) -> str:
        return gettext("Passkey")

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        """Return whose passkeys these are: the RP ID is the host name that people see."""
        return {**super().get_public_key_credential_rp_entity(), "name": "Amalga"}

    def get_public_key_credential_user_entity(self, user: Any) -> dict[str, Any]:
        name = user.get_username()
        return {
            **super().get_public_key_credential_user_entity(user),
            "name": name,
            "display_name": user.get_full_name() or name,
        }

    def get_totp_label(self, user: Any) -> str:
        return str(user.get_username())
