"""Forms of the people, teams and invitation pages."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.forms import SetPasswordForm, UserCreationForm
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from uploads.accounts.invitations import account_with
from uploads.accounts.people import NO_ROLE, usage_of
from uploads.accounts.roles import MAX_MEMBERS_AT_ONCE, Role, clean_team_name, grantable_roles, teams
from uploads.forms.fields import ParsedField, format_size, parse_field, parse_size

MAX_FILES = 2**62
MAX_INVITATIONS = 50  # at a time
SEPARATORS = re.compile(r"[,;\s]+")  # of addresses
MAX_EMAIL_CHARACTERS = 254  # RFC 3696, erratum 1690
MAX_NAMES_CHARACTERS = 30_000


def parse_quota(text: str) -> int | None:
    """Return the bytes of a person's limit; None for an empty text, which stands for the site's limit."""
    return parse_size(text) if text else None


class TeamsField(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            queryset=teams(), required=False, label=gettext_lazy("Teams"), widget=forms.CheckboxSelectMultiple, **kwargs
        )

    def label_from_instance(self, obj: Group) -> str:
        return obj.name


def role_choices(by: User | None, *, with_none: bool = False) -> list[tuple[str, str]]:
    """Return the roles that `by` may give, and none if asked for."""
    choices = [(role.value, str(role.label)) for role in grantable_roles(by)]
    return [*choices, (NO_ROLE, _("No role"))] if with_none else choices


class RoleForm(forms.Form):
    role = forms.ChoiceField(label=gettext_lazy("Role"))

    def __init__(self, *args: Any, by: User, current: Role | None = None, **kwargs: Any) -> None:
        kwargs["initial"] = {"role": current.value if current else NO_ROLE}
        super().__init__(*args, **kwargs)
        field: Any = self.fields["role"]
        field.choices = role_choices(by, with_none=True)

    @property
    def selected(self) -> Role | None:
        value = self.cleaned_data["role"]
        return None if value == NO_ROLE else Role(value)


class TeamsForm(forms.Form):
    teams = TeamsField()


class QuotaForm(forms.Form):
    storage = ParsedField(
        label=gettext_lazy("Storage"), required=False, max_length=30, parser=parse_quota,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "class": "short"}),
        help_text=gettext_lazy("For example 50 GB. Leave it empty for the site's limit."),
    )  # fmt: skip
    file_count = forms.IntegerField(
        label=gettext_lazy("Number of files"), required=False, min_value=0, max_value=MAX_FILES,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off", "class": "short"}),
        help_text=gettext_lazy("Leave it empty for the site's limit."),
    )  # fmt: skip

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        usage = usage_of(user)
        storage = "" if usage.quota_bytes is None else format_size(usage.quota_bytes)
        kwargs["initial"] = {"storage": storage, "file_count": usage.quota_files}
        super().__init__(*args, **kwargs)


class EmailForm(forms.Form):
    email = forms.EmailField(
        label=gettext_lazy("Email address"), required=False, max_length=254,
        help_text=gettext_lazy("Used to reset the password, and to find the account at single sign-on."),
    )  # fmt: skip

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        kwargs["initial"] = {"email": user.email}
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_email(self) -> str:
        email = str(self.cleaned_data["email"])
        other = account_with(email)
        if other is not None and other.pk != self.user.pk:
            raise ValidationError(_("This address belongs to %(name)s.") % {"name": other.get_username()}, code="taken")
        return email


class ReceiverForm(forms.Form):
    """The person who gets the files of someone who leaves."""

    username = forms.CharField(
        label=gettext_lazy("Hand over to"), max_length=150,
        widget=forms.TextInput(attrs={"list": "people", "autocomplete": "off", "spellcheck": "false", "dir": "auto"}),
        help_text=gettext_lazy("The username of the new owner."),
    )  # fmt: skip

    def __init__(self, *args: Any, owner: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.owner = owner

    def clean_username(self) -> User:
        name = str(self.cleaned_data["username"])
        user = User.objects.filter(username=name, is_active=True).exclude(pk=self.owner.pk).first()
        if user is None:
            raise ValidationError(_("No other active user named “%(name)s”.") % {"name": name}, code="unknown")
        return user


class EmailsField(forms.CharField):
    """Email addresses with commas or spaces between, each once."""

    widget = forms.EmailInput(attrs={"autocomplete": "off", "multiple": True})

    def clean(self, value: Any) -> list[str]:
        emails = list(dict.fromkeys(SEPARATORS.split(super().clean(value).strip(",; "))))
        if len(emails) > MAX_INVITATIONS:
            text = _("Enter at most %(most)s addresses at a time.")
            raise ValidationError(text % {"most": MAX_INVITATIONS}, code="too_many")
        return [self._clean_email(email) for email in emails if email]

    def _clean_email(self, email: str) -> str:
        try:
            return str(forms.EmailField(max_length=MAX_EMAIL_CHARACTERS).clean(email))
        except ValidationError:
            text = _("“%(email)s” is not a valid email address.")
            raise ValidationError(text % {"email": email[:MAX_EMAIL_CHARACTERS]}, code="invalid") from None


class InviteForm(forms.Form):
    emails = EmailsField(label=gettext_lazy("Email addresses"), required=False)
    role = forms.ChoiceField(label=gettext_lazy("Role"), initial=Role.UPLOADER.value)
    teams = TeamsField()

    def __init__(self, *args: Any, by: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["role"]
        field.choices = role_choices(by)
        self.fields["emails"].required = settings.SSO_ONLY  # by which single sign-on finds the account
        if not teams().exists():
            del self.fields["teams"]

    def clean_emails(self) -> list[str]:
        emails: list[str] = self.cleaned_data["emails"]
        for email in emails:
            if account := account_with(email):
                text = _("%(name)s already has an account with the address %(email)s.")
                raise ValidationError(text % {"name": account.get_username(), "email": email}, code="taken")
        return emails


class AccountForm(UserCreationForm):  # type: ignore[type-arg]
    """Username and password of a person who accepts an invitation. Names that differ in case only are the same."""

    class Meta(UserCreationForm.Meta):
        model = User
        fields = ("username",)

    def __init__(self, *args: Any, email: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instance.email = email  # the password must not be like it
        _describe_username(self)
        _short_help(self, "password1", "password2")


class UsernameForm(forms.ModelForm):  # type: ignore[type-arg]
    """Username of a person who accepts an invitation, and signs in with single sign-on only."""

    class Meta:
        model = User
        fields = ("username",)

    def __init__(self, *args: Any, email: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instance.email = email
        self.instance.set_unusable_password()
        _describe_username(self)

    clean_username = UserCreationForm.clean_username


class NewPasswordForm(SetPasswordForm):  # type: ignore[type-arg]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["new_password1"].widget.attrs["autofocus"] = True
        _short_help(self, "new_password1", "new_password2")


def _describe_username(form: forms.BaseForm) -> None:
    form.fields["username"].widget.attrs |= {"autocomplete": "username", "autofocus": True}
    form.fields["username"].help_text = _("Letters, digits and @ . + - _ only.")


def _short_help(form: forms.BaseForm, first: str, second: str) -> None:
    """Say in one line what a password needs; the error messages say the rest."""
    form.fields[first].help_text = _("At least 12 characters, and not a common password.")
    form.fields[second].help_text = ""


class ResetRequestForm(forms.Form):
    email = forms.EmailField(
        label=gettext_lazy("Email address"), max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "email", "autofocus": True}),
    )  # fmt: skip


class TeamForm(forms.Form):
    name = forms.CharField(
        label=gettext_lazy("Name"), widget=forms.TextInput(attrs={"autocomplete": "off", "dir": "auto"})
    )  # fmt: skip

    def clean_name(self) -> str:
        return parse_field(clean_team_name, self.cleaned_data["name"])


class MembersForm(forms.Form):
    """People to add to a team, by username, and members to remove."""

    add = forms.CharField(
        label=gettext_lazy("Add people"), required=False, max_length=MAX_NAMES_CHARACTERS,
        widget=forms.TextInput(attrs={"list": "people", "autocomplete": "off", "spellcheck": "false", "dir": "auto"}),
        help_text=gettext_lazy("Usernames, separated by commas."),
    )  # fmt: skip
    remove = forms.ModelMultipleChoiceField(
        queryset=User.objects.none(), required=False, widget=forms.CheckboxSelectMultiple
    )  # fmt: skip

    def __init__(self, *args: Any, team: Group, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["remove"]
        field.queryset = team.user_set.all()

    def clean_add(self) -> list[User]:
        names = list(dict.fromkeys(name for name in map(str.strip, self.cleaned_data["add"].split(",")) if name))
        if len(names) > MAX_MEMBERS_AT_ONCE:
            text = _("You can add up to %(max)s people at a time.")
            raise ValidationError(text % {"max": MAX_MEMBERS_AT_ONCE}, code="too_many")
        users = list(User.objects.filter(username__in=names))
        missing = sorted(set(names) - {user.get_username() for user in users})
        if missing:
            text = ngettext("User not found: %(names)s.", "Users not found: %(names)s.", len(missing))
            quoted = ", ".join(f"“{name}”" for name in missing[:10])
            raise ValidationError(text % {"names": quoted}, code="unknown")
        return users
