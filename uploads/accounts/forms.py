"""The forms by which somebody proves who they are. Each counts its tries before it looks."""

from __future__ import annotations

from typing import Any

from allauth.account.authentication import get_authentication_records
from allauth.account.forms import ChangePasswordForm, ReauthenticateForm
from allauth.account.internal.flows.login import perform_login, record_authentication
from allauth.account.models import Login
from allauth.core import context
from allauth.mfa.base.forms import AuthenticateForm
from allauth.mfa.base.forms import ReauthenticateForm as CodeAgainForm
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from uploads.accounts import known
from uploads.services import attempts


class SignIn(AuthenticationForm):
    """Django's own form, whose answer about an unknown name, a closed account and a wrong password is the same."""

    def clean(self) -> dict[str, Any]:
        name, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if name is None or not password:
            return self.cleaned_data
        browser = known.browser_of(self.request, name) if self.request else None
        tries = attempts.of_password(name, browser=browser)
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


class AskAgain(ReauthenticateForm):  # type: ignore[misc]
    """Before something that a thief at an open screen would like to do."""

    user: User

    def clean_password(self) -> str:
        password = str(self.cleaned_data["password"])
        if not _is_password_of(self.user, password):
            raise ValidationError(_("That is not your password."), code="incorrect_password")
        return password


class ChangePassword(ChangePasswordForm):  # type: ignore[misc]
    def clean_oldpassword(self) -> str:
        password = str(self.cleaned_data.get("oldpassword", ""))
        if not _is_password_of(self.user, password):
            raise ValidationError(_("That is not your password."), code="incorrect_password")
        return password


def _is_password_of(user: User, password: str) -> bool:
    tries = attempts.of_repeated_password(user.get_username())
    tries.begin()
    if not user.check_password(password):
        tries.failed()
        return False
    tries.succeeded()
    return True


class Code(AuthenticateForm):  # type: ignore[misc]
    """The code of the second factor, or a recovery code, after the password."""

    user: User

    def clean_code(self) -> str:
        return _counted(self.user, super().clean_code)


class CodeAgain(CodeAgainForm):  # type: ignore[misc]
    user: User

    def clean_code(self) -> str:
        return _counted(self.user, super().clean_code)


def _counted(user: User, clean_code: Any) -> str:
    name = user.get_username()
    tries = attempts.of_code(name, browser=known.browser_of(context.request, name))
    tries.begin()
    try:
        code = str(clean_code())
    except ValidationError:
        tries.failed()
        raise
    tries.succeeded()
    return code


def proved_by_code(request: HttpRequest) -> bool:
    """This session was opened, or confirmed, with a second factor."""
    user: Any = request.user
    return any(record.get("method") == "mfa" for record in get_authentication_records(request, user))
