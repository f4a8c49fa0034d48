"""Add tags to files, and remove tags."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from uploads.actions.base import BulkAction, BulkResult, register
from uploads.errors import Forbidden, InvalidTransition, OverQuota, ValidationFailed
from uploads.forms import TagsField, UserForm
from uploads.models import Action, Event, File, Tag, Tagging, Usage
from uploads.names import normalize_for_search

MAX_TAGS_PER_FILE = 50
MAX_KNOWN_TAGS = 500  # to choose from
MAX_UNDO_GROUPS = 200  # of files that got, and lost, the same tags
MAX_TAGGINGS_PER_REQUEST = 50_000  # seconds of a transaction


class TagForm(UserForm):
    add = TagsField(label=gettext_lazy("Add tags (comma-separated)"), required=False, help_text="")
    remove = TagsField(label=gettext_lazy("Remove tags (comma-separated)"), required=False, help_text="")

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not self.errors and not data["add"] and not data["remove"]:
            raise ValidationError(_("Enter at least one tag to add or remove."))
        return data


@register
class TagAction(BulkAction):
    name, order, row_right, can_undo, undo_detail = "tag", 20, "c", True, "tagged"
    label, icon = gettext_lazy("Change tags"), "tag"
    description = gettext_lazy("Other tags are kept. New tags are created as needed.")
    form_class, submit_label, template = TagForm, gettext_lazy("Change tags"), "uploads/tag_files.html"
    audit_action, log_event = Action.TAG, "file_tagged"

    def form_context(self, file_ids: Collection[UUID], *, by: User) -> dict[str, Any]:
        files = self.permitted(by).by_permanent_ids(file_ids).order_by()
        tags = Tag.objects.filter(taggings__file__in=files.values("pk")).annotate(count=Count("taggings"))
        used = tags.order_by("normalized_name").values_list("name", "count")[:MAX_KNOWN_TAGS]
        return {"used_tags": used, "known_tags": known_tags(by)}

    def prepare(self, file_ids: Collection[UUID], data: Mapping[str, Any], *, by: User) -> None:
        add: Sequence[str] = data["add"]
        if add and not by.has_perm("uploads.view_file"):
            raise Forbidden(_("You don't have permission to add tags. Ask an administrator for a role."))
        if len(add) > MAX_TAGS_PER_FILE:
            raise ValidationFailed(_("A file can have at most %(most)s tags.") % {"most": MAX_TAGS_PER_FILE})
        if Tag.objects.filter(normalized_name__in={normalize_for_search(name) for name in add}).count() < len(add):
            Usage.objects.locked(by.pk)  # new tags count for this person; locked before any file row, as everywhere

    def previous(self, files: list[File], data: Mapping[str, Any]) -> Mapping[UUID, Mapping[str, Any]]:
        """Return the tags that each file gets, and loses, by the action."""
        names = {normalize_for_search(name) for name in (*data["add"], *data["remove"])}
        rows = Tagging.objects.filter(file__in=files, tag__normalized_name__in=names)
        before: dict[UUID, dict[str, str]] = {}
        for file_id, key, name in rows.values_list("file_id", "tag__normalized_name", "tag__name"):
            before.setdefault(file_id, {})[key] = name
        removed = {normalize_for_search(name) for name in data["remove"]}
        return {
            file.pk: {
                "tagged": [name for name in data["add"] if normalize_for_search(name) not in before.get(file.pk, {})],
                "untagged": [name for key, name in before.get(file.pk, {}).items() if key in removed],
            }
            for file in files
        }

    def undo(self, events: Sequence[Event], *, by: User) -> BulkResult:
        groups: dict[tuple[tuple[str, ...], ...], list[UUID]] = {}
        for row in events:
            tagged, untagged = (tuple(row.detail[key]) for key in ("tagged", "untagged"))
            if row.file_id and (tagged or untagged):
                groups.setdefault((tagged, untagged), []).append(row.file_id)
        if len(groups) > MAX_UNDO_GROUPS:
            raise InvalidTransition(_("These files had too many different tags to undo the change."))
        result = BulkResult()
        with transaction.atomic():
            for (tagged, untagged), file_ids in groups.items():
                result.add(tag_files(file_ids, add=untagged, remove=tagged, by=by))
        return result

    def undo_message(self, result: BulkResult) -> str:
        count = len(result.files)
        return ngettext("Restored tags of %(count)s file.", "Restored tags of %(count)s files.", count) % {
            "count": count
        }

    def change(self, files: list[File], data: Mapping[str, Any], *, by: User) -> dict[str, Any]:
        add, remove = data["add"], data["remove"]
        normalized_names = [normalize_for_search(name) for name in remove]
        Tagging.objects.filter(file__in=files, tag__normalized_name__in=normalized_names).delete()
        if len(files) * len(add) > MAX_TAGGINGS_PER_REQUEST:
            raise ValidationFailed(_("Too many tags for this many files. Select fewer files or enter fewer tags."))
        tags = _ensure_tags(add, by) if files else []
        Tagging.objects.bulk_create(
            (Tagging(tag=tag, file=file) for file in files for tag in tags), ignore_conflicts=True
        )
        _require_tag_limit(files)
        return {"added": list(add), "removed": list(remove)}

    def title(self, count: int) -> str:
        return ngettext("Change tags of %(files)s file", "Change tags of %(files)s files", count) % {"files": count}

    def success_message(self, count: int, data: Mapping[str, Any]) -> str:
        text = ngettext("Changed tags of %(count)s file.", "Changed tags of %(count)s files.", count)
        return text % {"count": count}

    def describe(self, detail: Mapping[str, Any]) -> str:
        added, removed = (", ".join(map(str, detail.get(key) or [])) for key in ("added", "removed"))
        if added and removed:
            return _("added the tags %(added)s and removed %(removed)s") % {"added": added, "removed": removed}
        if added:
            return _("added the tags %(added)s") % {"added": added}
        return _("removed the tags %(removed)s") % {"removed": removed} if removed else ""


def known_tags(user: User) -> QuerySet[Tag, str]:
    """Return names of tags to choose from; none for a person who may not see tags."""
    tags = Tag.objects.all() if user.has_perm("uploads.view_file") else Tag.objects.none()
    return tags.values_list("name", flat=True)[:MAX_KNOWN_TAGS]


def tag_files(file_ids: Iterable[UUID], *, add: Sequence[str] = (), remove: Sequence[str] = (), by: User) -> BulkResult:
    """Add tags to files and remove tags, by clean name; missing tags are created.

    Raises ValidationFailed if a file would have more than fifty, and OverQuota for more new tags than a person may
    create: then no file is changed. Raises Forbidden for tags to add by a person who may not see tags: the spelling
    of the result would reveal whether a tag existed before.
    """
    return TagAction().execute(file_ids, {"add": add, "remove": remove}, by=by)


def _ensure_tags(names: Sequence[str], by: User) -> list[Tag]:
    """Return the tags with these names, created if missing; sorted, so that two batches cannot deadlock."""
    by_key = {normalize_for_search(name): name for name in names}
    existing = set(Tag.objects.filter(normalized_name__in=by_key).values_list("normalized_name", flat=True))
    new = [
        Tag(name=by_key[normalized_name], normalized_name=normalized_name, created_by=by)
        for normalized_name in sorted(by_key.keys() - existing)
    ]
    if new and Usage.objects.locked(by.pk).tags + len(new) > settings.UPLOAD_QUOTA_TAGS:
        raise OverQuota(
            _("You've reached your limit of %(most)s tags. Use existing tags, or ask for a higher limit.")
            % {"most": f"{settings.UPLOAD_QUOTA_TAGS:,}"}
        )
    Tag.objects.bulk_create(new, ignore_conflicts=True)
    return list(Tag.objects.filter(normalized_name__in=by_key))


def _require_tag_limit(files: Sequence[File]) -> None:
    counts = Tagging.objects.filter(file__in=files).values("file").annotate(count=Count("pk"))
    if counts.filter(count__gt=MAX_TAGS_PER_FILE).exists():
        raise ValidationFailed(_("A file can have at most %(most)s tags.") % {"most": MAX_TAGS_PER_FILE})
