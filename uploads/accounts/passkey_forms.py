"""The forms of passkeys. The browser fills them in with what the device said, which is checked before it is read."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from allauth.core import context
from allauth.mfa.webauthn import forms as webauthn
from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from uploads.accounts import factors, throttling
from uploads.services import sign_in_events

MAX_CREDENTIAL_CHARACTERS = 64 * 1024
MAX_NAME_CHARACTERS = 60
FAILED = _("That passkey didn't work. Try again, or use another way to sign in.")
# What the decoders of JSON, CBOR and COSE raise at input that is none.
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
    """Ask for a passkey after the password."""

    user: User
    credential = CredentialField()

    def clean_credential(self) -> Any:
        name = self.user.get_username()
        with throttling.code_throttle(name, device=throttling.device_id(context.request, name)):
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
