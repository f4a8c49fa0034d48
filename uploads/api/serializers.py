"""Requests of the upload protocol, parsed and validated."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

from django.utils.translation import gettext as _

from uploads import names, parts
from uploads.errors import BadDigest, Problem, ValidationFailed
from uploads.models import File, Visibility
from uploads.services.finish import FinishRequest
from uploads.services.sign import PartRequest
from uploads.services.start import NewUpload

MAX_FILES = 100
MAX_NAMES = 500
MAX_PARTS_PER_REQUEST = 100
MAX_INTEGER = 2**62


@dataclass(frozen=True, slots=True)
class StartUploadsSerializer:
    """`{"files": [{"token", "name", "size", "type"?, "modified"?, "folder"?, "visibility"?, "replaces"?, "sha256"?,
    "part_size"?}], "folder_id"?, "guest"?}`: `folder_id` is the id of the folder that the files' paths are relative
    to, and `guest` has what a guest says of themselves."""

    files: list[tuple[UUID, NewUpload | Problem]]
    folder_id: int | None
    guest: object = None

    @classmethod
    def read(cls, body: bytes) -> Self:
        data = _members(body)
        items = _items(data, "files", maximum=MAX_FILES)
        tokens = _distinct_uuids(items, "token")
        files = [(token, _new_file(token, item)) for token, item in zip(tokens, items, strict=True)]
        return cls(files, _positive_or_none(data, "folder_id"), data.get("guest"))


@dataclass(frozen=True, slots=True)
class FindConflictsSerializer:
    """`{"files": [{"name", "folder"?}], "folder_id"?}`: `names` has the folder path and the name of each file."""

    names: list[tuple[str, str]]
    folder_id: int | None

    @classmethod
    def read(cls, body: bytes) -> Self:
        data = _members(body)
        items = _items(data, "files", maximum=MAX_NAMES)
        return cls(
            [(_folder(item.get("folder")), _name(item.get("name"))) for item in items],
            _positive_or_none(data, "folder_id"),
        )


@dataclass(frozen=True, slots=True)
class SignPartsSerializer:
    """`{"parts": [{"number", "sha256"?}]}`"""

    parts: list[PartRequest]

    @classmethod
    def read(cls, body: bytes, file: File) -> Self:
        items = _items(_members(body), "parts", maximum=MAX_PARTS_PER_REQUEST)
        requested = [
            PartRequest(
                _integer(item.get("number"), "number", minimum=1, maximum=file.part_count),
                _digest_or_none(item.get("sha256")),
            )
            for item in items
        ]
        if len({part.number for part in requested}) < len(requested):
            raise ValidationFailed(_("Each part number can appear only once."))
        return cls(requested)


@dataclass(frozen=True, slots=True)
class FinishUploadsSerializer:
    """`{"files": [{"id", "sha256": ["…", …]}]}`"""

    files: list[tuple[UUID, FinishRequest | Problem]]

    @classmethod
    def read(cls, body: bytes) -> Self:
        items = _items(_members(body), "files", maximum=MAX_FILES)
        ids = _distinct_uuids(items, "id")
        return cls([(pk, _finish_request(pk, item)) for pk, item in zip(ids, items, strict=True)])


def _members(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValidationFailed(_("The request body must be JSON.")) from error
    return data if isinstance(data, dict) else {}


def _items(data: dict[str, Any], member: str, *, maximum: int) -> Sequence[dict[str, Any]]:
    items = data.get(member)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValidationFailed(_("The request body must contain “%(member)s”, a list of objects.") % {"member": member})
    if not 1 <= len(items) <= maximum:
        raise ValidationFailed(
            _("“%(member)s” must contain 1 to %(most)s entries, not %(count)s.")
            % {"member": member, "most": maximum, "count": len(items)}
        )
    return items


def _positive_or_none(data: dict[str, Any], member: str) -> int | None:
    value = data.get(member)
    return None if value is None else _integer(value, member, minimum=1, maximum=MAX_INTEGER)


def _distinct_uuids(items: Sequence[dict[str, Any]], member: str) -> list[UUID]:
    ids = [_uuid(item.get(member), member) for item in items]
    if len(set(ids)) < len(ids):
        raise ValidationFailed(_("Duplicate “%(member)s” in the request.") % {"member": member})
    return ids


def _new_file(token: UUID, item: dict[str, Any]) -> NewUpload | Problem:
    try:
        return NewUpload(
            token=token,
            name=_name(item.get("name")),
            size=_integer(item.get("size"), "size", minimum=0, maximum=MAX_INTEGER),
            declared_type=_type(item.get("type")),
            folder=_folder(item.get("folder")),
            modified=_datetime(item.get("modified")),
            visibility=_visibility(item.get("visibility")),
            replaces=_uuid(item["replaces"], "replaces") if item.get("replaces") is not None else None,
            sha256=_digest_or_none(item.get("sha256")),
            part_size=_positive_or_none(item, "part_size"),
        )
    except Problem as problem:
        return problem


def _finish_request(pk: UUID, item: dict[str, Any]) -> FinishRequest | Problem:
    digests = item.get("sha256")
    if not isinstance(digests, list) or not 1 <= len(digests) <= parts.MAX_PARTS:
        return BadDigest(_("“sha256” must be a list of the base64-encoded SHA-256 of each part, in order."))
    try:
        return FinishRequest(pk, [_digest(digest) for digest in digests])
    except Problem as problem:
        return problem


def _uuid(value: object, member: str) -> UUID:
    try:
        if isinstance(value, str) and len(value) <= 36:
            return UUID(value)
    except ValueError:
        pass
    raise ValidationFailed(_("“%(member)s” must be a UUID.") % {"member": member})


def _integer(value: object, member: str, *, minimum: int, maximum: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum:
        return value
    raise ValidationFailed(
        _("“%(member)s” must be an integer between %(least)s and %(most)s.")
        % {"member": member, "least": minimum, "most": maximum}
    )


def _digest(value: object) -> str:
    try:
        return parts.require_digest(value)
    except ValueError as error:
        raise BadDigest(_("“sha256” must be a base64-encoded SHA-256 (44 characters).")) from error


def _digest_or_none(value: object) -> str | None:
    return None if value is None else _digest(value)


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValidationFailed(_("A file must have a name."))
    if len(value) > names.MAX_TYPED_CHARACTERS:
        raise ValidationFailed(
            _("The name is too long. The limit is %(most)s characters.") % {"most": names.MAX_TYPED_CHARACTERS}
        )
    return names.clean_name(value)


def _folder(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and len(value) <= names.MAX_FOLDER_CHARACTERS:
        folder = names.clean_folder(value)
        if len(folder) <= names.MAX_FOLDER_CHARACTERS:  # normalization can lengthen it
            return folder
    raise ValidationFailed(
        _("“folder” must be a path of at most %(most)s characters.") % {"most": names.MAX_FOLDER_CHARACTERS}
    )


def _type(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValidationFailed(_("“type” must be a media type."))
    return names.clean_type(value)


def _datetime(value: object) -> datetime | None:
    """Return the time for milliseconds since 1970, as browsers send it. A time that Python cannot represent is None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValidationFailed(_("“modified” must be a time in milliseconds since 1970."))
    try:
        return datetime.fromtimestamp(value / 1000, UTC) if math.isfinite(value) else None
    except (ValueError, OverflowError, OSError):
        return None


def _visibility(value: object) -> Visibility:
    if value is None:
        return Visibility.TEAM
    if isinstance(value, str) and value in Visibility.values:
        return Visibility(value)
    raise ValidationFailed(_("“visibility” must be “team” or “private”."))
