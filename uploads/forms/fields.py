"""Forms for files, folders and tags, their fields, and parsers of single values, which raise ValidationFailed."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from django import forms
from django.contrib.auth.models import AnonymousUser, Group, User
from django.core.exceptions import ValidationError
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from uploads import names
from uploads.errors import ValidationFailed
from uploads.models import AccessLevel, Folder, SameName
from uploads.models.file import MAX_TAG_CHARACTERS

MAX_TAGS_PER_REQUEST = 50
MAX_TYPED_TAG_CHARACTERS = 10_000
MAX_DIGITS = 18
TOP_LEVEL = "0"
SIZE_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "p": 10**15}
# Only 0 needs no unit: "50" would be bytes, but people mean GB. \s includes the no-break space of formatted sizes.
SIZE = re.compile(r"(?:([0-9]{1,15})(?:[.,]([0-9]{1,6}))?\s?(?:([kmgtp])b?|b)|0)", re.IGNORECASE)
MAX_SIZE_BYTES = 2**62

Parsed = TypeVar("Parsed")


def parse_id(text: str | None) -> int | None:
    """Return the id in a form field, or None if it is empty or invalid."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else None


def find_folder(text: str | None, user: User | AnonymousUser, *, missing: str = "") -> Folder | None:
    """Return the folder whose id is in a form field, or None if the field is empty or the user can see no such folder.

    With a message `missing`, raises ValidationFailed in the latter case.
    """
    pk = parse_id(text)
    folder = Folder.objects.visible_to(user).filter(pk=pk).first() if pk else None
    if folder is None and text and missing:
        raise ValidationFailed(missing)
    return folder


def folder_by_path(text: str, user: User) -> Folder | None:
    """Return the folder with this path (`Brand/Logos`) or id (`#12`) if the user may see it, or None."""
    visible = Folder.objects.visible_to(user)
    text = text.strip()
    if text.startswith("#") and text[1:].isascii() and text[1:].isdigit() and len(text) <= MAX_DIGITS:
        return visible.filter(pk=int(text[1:])).first()
    folder = None
    for name in names.clean_folder(text).split("/"):
        folder = visible.children_of(folder).filter(name=name).first()
        if folder is None:
            return None
    return folder


def folder_name(text: str) -> str:
    """Return the cleaned name of a folder. A slash is an error, since users who type one expect two folders."""
    text = _required_text(text)
    if "/" in text or "\\" in text:
        raise ValidationFailed(_("A folder name can't contain a slash. Create one folder, then the other inside it."))
    if not text.strip(". "):
        raise ValidationFailed(_("A folder name can't consist of dots only."))
    return names.clean_name(text)


def parse_tags(text: str) -> list[str]:
    """Return the cleaned tags of a comma-separated line, without duplicates."""
    if len(text) > MAX_TYPED_TAG_CHARACTERS:
        raise ValidationFailed(
            _("Too long. You can enter up to %(most)s tags at a time.") % {"most": MAX_TAGS_PER_REQUEST}
        )
    tags = {names.normalize_for_search(name): name for name in map(_clean_tag, text.split(",")) if name}
    if len(tags) > MAX_TAGS_PER_REQUEST:
        raise ValidationFailed(_("You can enter up to %(most)s tags at a time.") % {"most": MAX_TAGS_PER_REQUEST})
    return list(tags.values())


def access_levels(data: Mapping[str, str], groups: Iterable[Group]) -> dict[Group, AccessLevel] | None:
    """Return the access rules from the fields `level-<group>`, or None if the folder inherits its rules."""
    if data.get("access") != "groups":
        return None
    chosen = {group: parse_id(data.get(f"level-{group.pk}")) for group in groups}
    return {group: AccessLevel(level) for group, level in chosen.items() if level in AccessLevel.values}


def _required_text(text: str) -> str:
    text = text.replace("\x00", "").strip()
    if not text:
        raise ValidationFailed(_("Enter a name."))
    if len(text) > names.MAX_TYPED_CHARACTERS:
        raise ValidationFailed(
            _("The name is too long. The limit is %(most)s characters.") % {"most": names.MAX_CHARACTERS}
        )
    return text


def _clean_tag(text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    name = text.replace("/", "-").replace("\\", "-")
    if len(name) <= names.MAX_TYPED_CHARACTERS:  # normalizing takes quadratic time for a run of combining marks
        name = names.clean_name(name)
    if len(name) > MAX_TAG_CHARACTERS:
        raise ValidationFailed(_("A tag can have at most %(most)s characters.") % {"most": MAX_TAG_CHARACTERS})
    return name


def parse_field(parser: Callable[[str], Parsed], text: str) -> Parsed:
    """Return what `parser` makes of the text. Raises its ValidationFailed as a ValidationError of the field."""
    try:
        return parser(text)
    except ValidationFailed as problem:
        raise ValidationError(problem.message) from problem


def parse_size(text: str) -> int:
    """Return the bytes of a size such as "50 GB" or "1.5 TB", in powers of ten. Raises ValidationFailed."""
    match = SIZE.fullmatch(text.strip())
    if match is None:
        raise ValidationFailed(_("Enter a size such as 500 MB or 2 GB."))
    whole, fraction, unit = match.groups(default="")
    size: int = (int(whole + fraction or "0") * SIZE_UNITS[unit.lower()]) // 10 ** len(fraction)
    if size > MAX_SIZE_BYTES:
        raise ValidationFailed(_("This is more than the maximum. Enter a smaller size."))
    return size


def format_size(size: int) -> str:
    """Return the size in the largest unit that gives at most two decimals, so that `parse_size` returns the same."""
    unit = next((unit for unit in "ptgmk" if size >= SIZE_UNITS[unit] and size * 100 % SIZE_UNITS[unit] == 0), "")
    name = "kB" if unit == "k" else f"{unit.upper()}B"
    amount = (Decimal(size) / SIZE_UNITS[unit]).normalize()
    return f"{number_format(format(amount, 'f'))} {name}"


class ParsedField(forms.CharField):
    """A text field whose value is what `parser` makes of the text."""

    def __init__(self, *, parser: Callable[[str], Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parser = parser

    def clean(self, value: Any) -> Any:
        return parse_field(self.parser, str(super().clean(value) or ""))


def first_error(form: forms.Form) -> str:
    """Return the first error of an invalid form, with the label of its field."""
    field, errors = next(iter(form.errors.items()))
    return f"{form.fields[field].label}: {errors[0]}"


def parse_file_name(text: str) -> str:
    """Return a clean name. Raises ValidationFailed for slashes: people who type them want to move the file."""
    if "/" in text or "\\" in text:
        raise ValidationFailed(_("A file name can't contain a slash. To move the file, change its folder."))
    return names.clean_name(_required_text(text))


class FolderField(forms.CharField):
    """A folder, typed as its path; empty is the top level. Set `user` to the person who fills in the form."""

    user: User
    unchanged: tuple[str, Folder | None] | None = None

    def __init__(self, **kwargs: Any) -> None:
        defaults: dict[str, Any] = {
            "required": False,
            "max_length": names.MAX_FOLDER_CHARACTERS,
            "help_text": gettext_lazy("Full path, for example Brand/Logos. Leave it empty for the top level."),
            "widget": forms.TextInput(attrs={"class": "vTextField", "dir": "auto"}),
        }
        super().__init__(**{**defaults, **kwargs})

    def clean(self, value: Any) -> Any:
        if self.unchanged is not None and self.to_python(value) == self.unchanged[0]:
            return self.unchanged[1]
        text = str(super().clean(value) or "").strip().strip("/")
        if not text:
            return None
        folder = folder_by_path(text, self.user)
        if folder is None:
            raise ValidationError(
                gettext_lazy("Folder “%(path)s” not found. Enter its full path, for example Brand/Logos."),
                params={"path": text[:100]},
            )
        return folder


def allow_unchanged_folder(form: forms.BaseForm, name: str, folder: Folder | None) -> None:
    """Accept the field's initial value as `folder`, even if the path is too long to type or hidden from the user."""
    field = form.fields.get(name)
    if isinstance(field, FolderField):
        field.unchanged = (form.initial[name], folder)


class PickedFolderField(FolderField):
    """A folder, chosen in the folder picker by its id; TOP_LEVEL is the top level."""

    def clean(self, value: Any) -> Any:
        if not value:
            raise ValidationError(gettext_lazy("Choose a folder."))
        if value == TOP_LEVEL:
            return None
        missing = _("This folder no longer exists. Choose another one.")
        return parse_field(lambda text: find_folder(text, self.user, missing=missing), value)


class TagsInput(forms.TextInput):
    """A line of tags, together with tags that are ticked under the same name."""

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        values = data.getlist(name) if hasattr(data, "getlist") else [data.get(name)]
        return ", ".join(value for value in values if value and value.strip())


class TagsField(forms.CharField):
    """Tags, separated by commas."""

    def __init__(self, **kwargs: Any) -> None:
        defaults: dict[str, Any] = {
            "label": gettext_lazy("Tags"),
            "max_length": 4_000,
            "help_text": gettext_lazy("Separate tags with commas."),
            "widget": TagsInput(attrs={"class": "vTextField", "dir": "auto"}),
        }
        super().__init__(**{**defaults, **kwargs})

    def clean(self, value: Any) -> Any:
        tags = parse_field(parse_tags, str(super().clean(value) or ""))
        if self.required and not tags:
            raise ValidationError(self.error_messages["required"])
        return tags


class UserForm(forms.Form):
    """A form whose fields depend on the person who fills it in."""

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            if isinstance(field, FolderField):
                field.user = user


class FolderPickerForm(UserForm):
    """The folder that is chosen in the folder picker."""

    to = PickedFolderField()


class ManyFilesInput(forms.ClearableFileInput):
    allow_multiple_selected = True


class UploadForm(forms.Form):
    """The upload form. `submission` identifies this copy of the form, so that sending it twice creates each file once.

    The files never become form data: they stream to the storage while the request is parsed.
    """

    submission = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)
    folder = forms.IntegerField(widget=forms.HiddenInput, required=False, min_value=1)
    replaces = forms.UUIDField(widget=forms.HiddenInput, required=False)
    # the extension, unlike that of the file to replace, that this person has confirmed
    other_extension = forms.CharField(widget=forms.HiddenInput, required=False, max_length=255)
    private = forms.BooleanField(label=gettext_lazy("Private: only I can see these files"), required=False)
    same_name = forms.ChoiceField(
        label=gettext_lazy("If a file with the same name exists"), required=False, widget=forms.RadioSelect,
        choices=SameName.choices, initial=SameName.NEW_VERSION,
    )  # fmt: skip
    # the metaclass removes fields from the class, so this does not replace Form.files
    files = forms.Field(  # type: ignore[assignment]
        label=gettext_lazy("Files"), required=False, widget=ManyFilesInput(attrs={"multiple": True})
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
