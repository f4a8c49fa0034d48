"""The forms that ask for a password or a code. Each counts the attempt before it checks the input."""

from __future__ import annotations

from typing import Any

from allauth.account import forms as account_forms
from allauth.account.internal.flows.login import record_authentication
from allauth.account.utils import perform_login
from allauth.core import context
from allauth.mfa import app_settings as mfa_settings
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base import forms as mfa_forms
from allauth.mfa.totp import forms as totp_forms
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from uploads.accounts import factors, throttling
from uploads.errors import TooManyAttempts
from uploads.services import sign_in_events


class LoginForm(AuthenticationForm):
    """Django's own form, which gives the same error for unknown names, inactive accounts and wrong passwords.

    After too many attempts it says when the next one is allowed; `throttled` is the problem then.
    """

    throttled: TooManyAttempts | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.is_bound:  # the page shows an error, and the name is still there
            del self.fields["username"].widget.attrs["autofocus"]
            self.fields["password"].widget.attrs["autofocus"] = True

    def clean(self) -> dict[str, Any]:
        name, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if name is None or not password:
            return self.cleaned_data
        device = throttling.device_id(self.request, name) if self.request else None
        try:
            with throttling.password_throttle(name, device=device):
                cleaned_data: dict[str, Any] = super().clean()
                user = self.get_user()
                if user and not factors.may_sign_in_here(user):
                    sign_in_events.on_login_failed(credentials={"username": name})
                    raise self.get_invalid_login_error()
        except TooManyAttempts as problem:
            self.throttled = problem
            raise ValidationError(problem.message, code=problem.code) from problem
        return cleaned_data

    def login(self, request: HttpRequest, redirect_url: str | None = None) -> HttpResponse:
        """Redirect to `redirect_url`, or to the second factor first."""
        user = self.get_user()
        # The password was typed just now: no page asks for it again within the next minutes.
        record_authentication(request, user, method="password", reauthenticated=True)
        response: HttpResponse = perform_login(request, user, redirect_url=redirect_url)
        return response


class ReauthenticateForm(account_forms.ReauthenticateForm):  # type: ignore[misc]
    """Ask for the password again before changes that an unlocked screen must not be enough for."""

    user: User

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain_widgets(self, "password")

    def clean_password(self) -> str:
        return _clean_password(self.user, str(self.cleaned_data["password"]))


class PasswordChangeForm(account_forms.ChangePasswordForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain_widgets(self, "oldpassword")

    def clean_oldpassword(self) -> str:
        return _clean_password(self.user, str(self.cleaned_data.get("oldpassword", "")))


def _clean_password(user: User, password: str) -> str:
    stored = user.password
    with throttling.reauthentication_throttle(user.get_username()):
        if not user.check_password(password):
            raise ValidationError(_("Incorrect password."), code="incorrect_password")
    if user.password != stored:  # a newer Django has just upgraded the hash, which must not end the session
        update_session_auth_hash(context.request, user)
    return password


class TOTPForm(mfa_forms.AuthenticateForm):  # type: ignore[misc]
    """Ask for the code of the second factor, or a recovery code, after the password. `throttled` is as in LoginForm."""

    user: User
    throttled: TooManyAttempts | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain_widgets(self, "code")

    def clean_code(self) -> str:
        try:
            return _clean_code(self, super().clean_code)
        except TooManyAttempts as problem:
            self.throttled = problem
            raise ValidationError(problem.message, code=problem.code) from problem


class ReauthenticateTOTPForm(mfa_forms.ReauthenticateForm):  # type: ignore[misc]
    user: User

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain_widgets(self, "code")

    def clean_code(self) -> str:
        return _clean_code(self, super().clean_code)


class ActivateTOTPForm(totp_forms.ActivateTOTPForm):  # type: ignore[misc]
    """Confirm a new authenticator app by its first code."""

    user: User

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain_widgets(self, "code")

    def clean_code(self) -> str:
        code = str(super().clean_code())
        if not _mark_code_used(self.user, code):
            raise get_adapter().validation_error("incorrect_code")
        return code


def _plain_widgets(form: Form, first: str) -> None:
    """Remove placeholders (labels stand above the fields), focus the first field, and show a number pad for codes."""
    for field in form.fields.values():
        field.widget.attrs.pop("placeholder", None)
    form.fields[first].widget.attrs["autofocus"] = True
    if first == "code":
        form.fields[first].widget.attrs |= {"inputmode": "numeric", "spellcheck": "false"}


def _clean_code(form: TOTPForm | ReauthenticateTOTPForm, clean_code: Any) -> str:
    name = form.user.get_username()
    with throttling.code_throttle(name, device=throttling.device_id(context.request, name)):
        code = str(clean_code())
        if not _mark_code_used(form.user, code):
            sign_in_events.on_code_failed(user=form.user)
            raise get_adapter().validation_error("incorrect_code")
    return code


def _mark_code_used(user: User, code: str) -> bool:
    """Return whether the code is used for the first time, and remember it for as long as it is valid.

    allauth remembers it only for the one period in which it is displayed.
    """
    periods = 2 * mfa_settings.TOTP_TOLERANCE + 1
    spare = 1  # for clock skew between machines
    digits = "".join(filter(str.isalnum, code))  # however it was typed
    key = f"uploads.code?user={user.pk}&code={digits}"
    return bool(cache.add(key, 1, timeout=mfa_settings.TOTP_PERIOD * (periods + spare)))
