"""The forms that ask for a password, a code or a passkey.

Attempts with passwords, codes, and passkeys after the password are counted before the input is checked; sign-ins with a
passkey alone are counted when they start (`passkeys.options`). What a browser sends for a passkey is checked before it
is read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from allauth.account import forms as account_forms
from allauth.account.internal.flows.login import record_authentication
from allauth.account.utils import perform_login
from allauth.core import context
from allauth.mfa import app_settings as mfa_settings
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base import forms as mfa_forms
from allauth.mfa.totp import forms as totp_forms
from allauth.mfa.webauthn import forms as webauthn
from django import forms
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


@contextmanager
def _throttled_form(form: LoginForm | TOTPForm | SecondFactorForm) -> Iterator[None]:
    """Make TooManyAttempts an error of the form, which the page then shows again; `form.throttled` is the problem."""
    try:
        yield
    except TooManyAttempts as problem:
        form.throttled = problem
        raise ValidationError(problem.message, code=problem.code) from problem


class LoginForm(AuthenticationForm):
    """Django's own form, which gives the same error for unknown names, inactive accounts and wrong passwords.

    After too many attempts it says when the next one is allowed; `throttled` is the problem then.
    """

    error_messages = {**AuthenticationForm.error_messages, "invalid_login": _("Incorrect username or password.")}
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
        with _throttled_form(self), throttling.password_throttle(name, device=device):
            cleaned_data: dict[str, Any] = super().clean()
            user = self.get_user()
            if user and not factors.may_sign_in_here(user):
                sign_in_events.on_login_failed(credentials={"username": name})
                raise self.get_invalid_login_error()
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
        with _throttled_form(self):
            return _clean_code(self, super().clean_code)


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


# --- passkeys --------------------------------------------------------------------------------------


MAX_CREDENTIAL_CHARACTERS = 64 * 1024
MAX_NAME_CHARACTERS = 60
FAILED = _("That passkey didn't work. Try again, or use another way to sign in.")
# What the decoders of JSON, CBOR and COSE raise at malformed input.
MALFORMED = (
    ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError, NotImplementedError,
    RecursionError, struct.error,
)  # fmt: skip


class CredentialField(forms.JSONField):
    widget = forms.HiddenInput

    def to_python(self, value: Any) -> Any:
        """Return the credential: an object of strings that are ASCII, as base64url is."""
        try:
            data = super().to_python(value) if len(value or "") <= MAX_CREDENTIAL_CHARACTERS else None
        except (ValidationError, RecursionError):
            data = None
        if not isinstance(data, dict) or not isinstance(data.get("response"), dict):
            raise ValidationError(FAILED, code="malformed")
        return data


def _checked(check: Callable[[], Any]) -> Any:
    try:
        return check()
    except (ValidationError, *MALFORMED) as error:
        raise ValidationError(FAILED, code="incorrect_passkey") from error


class AddPasskeyForm(webauthn.AddWebAuthnForm):  # type: ignore[misc]
    user: User
    name = forms.CharField(label=_("Name"), max_length=MAX_NAME_CHARACTERS, required=False)
    credential = CredentialField()
    passwordless = None  # allauth's field: whether it works without a password is up to the device

    def clean(self) -> dict[str, Any]:
        cleaned_data: dict[str, Any] = _checked(super().clean)
        if credential := cleaned_data.get("credential"):
            cleaned_data["credential"] = _checked(lambda: _stored(credential))
        return cleaned_data


class RenamePasskeyForm(webauthn.EditWebAuthnForm):  # type: ignore[misc]
    name = forms.CharField(
        label=_("Name"), max_length=MAX_NAME_CHARACTERS, widget=forms.TextInput(attrs={"autofocus": True})
    )  # fmt: skip


def _stored(credential: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a new passkey, and nothing else that the browser sent."""
    response = credential["response"]
    texts = {name: response[name] for name in ("clientDataJSON", "attestationObject")}
    if not all(text.isascii() and text.isprintable() for text in (credential["rawId"], *texts.values())):
        raise ValueError("not base64url")
    is_kept = credential.get("clientExtensionResults", {}).get("credProps", {}).get("rk") is True
    return {
        "id": credential["rawId"],
        "rawId": credential["rawId"],
        "type": "public-key",
        "response": texts,
        "clientExtensionResults": {"credProps": {"rk": is_kept}},
    }


class SecondFactorForm(webauthn.AuthenticateWebAuthnForm):  # type: ignore[misc]
    """Ask for a passkey after the password. `throttled` is as in LoginForm."""

    user: User
    throttled: TooManyAttempts | None = None
    credential = CredentialField()

    def clean_credential(self) -> Any:
        name = self.user.get_username()
        device = throttling.device_id(context.request, name)
        with _throttled_form(self), throttling.code_throttle(name, device=device):
            try:
                return _checked(super().clean_credential)
            except ValidationError:
                sign_in_events.on_code_failed(user=self.user)
                raise


class SignInForm(webauthn.LoginWebAuthnForm):  # type: ignore[misc]
    credential = CredentialField()

    def clean_credential(self) -> Any:
        authenticator = _checked(super().clean_credential)
        if not authenticator.user.is_active or not factors.may_sign_in_here(authenticator.user):
            raise ValidationError(FAILED, code="incorrect_passkey")
        return authenticator


class ConfirmForm(webauthn.ReauthenticateWebAuthnForm):  # type: ignore[misc]
    credential = CredentialField()

    def clean_credential(self) -> Any:
        return _checked(super().clean_credential)
