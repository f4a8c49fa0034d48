"""The forms by which somebody proves who they are. Each counts its tries before it looks."""

from __future__ import annotations

from typing import Any

from allauth.account import forms as account_forms
from allauth.account.authentication import get_authentication_records
from allauth.account.internal.flows.login import perform_login, record_authentication
from allauth.account.models import Login
from allauth.core import context
from allauth.core.internal.cryptokit import normalize_user_code
from allauth.mfa import app_settings as factors
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

from uploads.accounts import device_cookie, throttling


class LoginForm(AuthenticationForm):
    """Django's own form, whose answer about an unknown name, a closed account and a wrong password is the same."""

    def clean(self) -> dict[str, Any]:
        name, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if name is None or not password:
            return self.cleaned_data
        browser = device_cookie.device_id(self.request, name) if self.request else None
        tries = throttling.password_throttle(name, browser=browser)
        tries.begin()
        try:
            cleaned = super().clean()
        except ValidationError:
            tries.failed()
            raise
        tries.succeeded()
        return cleaned

    def login(self, request: HttpRequest, redirect_url: str | None = None) -> HttpResponse:
        """To where they wanted to go, or to the second factor before that."""
        user = self.get_user()
        # They have just typed it: nothing asks for it again within the next minutes.
        record_authentication(request, user, method="password", reauthenticated=True)
        answer: HttpResponse = perform_login(request, Login(user=user, redirect_url=redirect_url))
        return answer


class ReauthenticateForm(account_forms.ReauthenticateForm):  # type: ignore[misc]
    """Before something that a thief at an open screen would like to do."""

    user: User

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain_widgets(self, "password")

    def clean_password(self) -> str:
        password = str(self.cleaned_data["password"])
        if not _is_password_of(self.user, password):
            raise ValidationError(_("That is not your password."), code="incorrect_password")
        return password


class PasswordChangeForm(account_forms.ChangePasswordForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain_widgets(self, "oldpassword")

    def clean_oldpassword(self) -> str:
        password = str(self.cleaned_data.get("oldpassword", ""))
        if not _is_password_of(self.user, password):
            raise ValidationError(_("That is not your password."), code="incorrect_password")
        return password


def _is_password_of(user: User, password: str) -> bool:
    tries = throttling.reauthentication_throttle(user.get_username())
    tries.begin()
    kept = user.password
    if not user.check_password(password):
        tries.failed()
        return False
    tries.succeeded()
    if user.password != kept:  # a newer Django hashes it better, and has just done so: that ends no session
        update_session_auth_hash(context.request, user)
    return True


class TOTPForm(mfa_forms.AuthenticateForm):  # type: ignore[misc]
    """The code of the second factor, or a recovery code, after the password."""

    user: User

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain_widgets(self, "code")

    def clean_code(self) -> str:
        return _counted(self, super().clean_code)


class ReauthenticateTOTPForm(mfa_forms.ReauthenticateForm):  # type: ignore[misc]
    user: User

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain_widgets(self, "code")

    def clean_code(self) -> str:
        return _counted(self, super().clean_code)


class ActivateTOTPForm(totp_forms.ActivateTOTPForm):  # type: ignore[misc]
    """Of an app that has just read the key."""

    user: User

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain_widgets(self, "code")

    def clean_code(self) -> str:
        code = str(super().clean_code())
        if not _is_used_first(self.user, code):
            raise get_adapter().validation_error("incorrect_code")
        return code


def _plain_widgets(form: Form, first: str) -> None:
    """Labels stand above their fields, and nothing in them; one types into the first at once, a code in digits."""
    for field in form.fields.values():
        field.widget.attrs.pop("placeholder", None)
    form.fields[first].widget.attrs["autofocus"] = True
    if first == "code":
        form.fields[first].widget.attrs |= {"inputmode": "numeric", "spellcheck": "false"}


def _counted(form: TOTPForm | ReauthenticateTOTPForm, clean_code: Any) -> str:
    name = form.user.get_username()
    tries = throttling.code_throttle(name, browser=device_cookie.device_id(context.request, name))
    tries.begin()
    try:
        code = str(clean_code())
        if not _is_used_first(form.user, code):
            form._emit_authentication_failed(form.authenticator)
            raise get_adapter().validation_error("incorrect_code")
    except ValidationError:
        tries.failed()
        raise
    except Exception:  # the cache is away, for one
        tries.taken_back()
        raise
    tries.succeeded()
    return code


def _is_used_first(user: User, code: str) -> bool:
    """Remembered for as long as the code is a right one; allauth does so for the one period in which it is shown."""
    periods = 2 * factors.TOTP_TOLERANCE + 1
    spare = 1  # clocks of several machines differ
    key = f"uploads.code?user={user.pk}&code={normalize_user_code(code)}"
    return bool(cache.add(key, 1, timeout=factors.TOTP_PERIOD * (periods + spare)))


def proved_by_code(request: HttpRequest) -> bool:
    """This session was opened, or confirmed, with a second factor."""
    user: Any = request.user
    return any(record.get("method") == "mfa" for record in get_authentication_records(request, user))
