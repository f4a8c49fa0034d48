"""Create users and files in any state, with objects; and read whole tables for comparison."""

from __future__ import annotations

import hashlib
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models.functions import Now

from tests.support.stores import Bucket
from tests.support.upload_client import sha256
from uploads.models import File, State, Usage
from uploads.models.querysets import seconds_from_now

HOUR = 3600
PART = 16 * 1024**2


def create_user(name: str, *roles: str, **facts: Any) -> User:
    """Create a user without a password, because hashing takes a second; they sign in by `force_login`."""
    user = User.objects.create_user(name, **facts)
    user.groups.set(Group.objects.filter(name__in=roles))
    return user


def create_file(
    owner: User, body: bytes = b"hello", *, bucket: Bucket | None = None, state: State = State.AVAILABLE, **facts: Any
) -> File:
    """Create a row in this state with its usage, and with `bucket` also its object."""
    fields = {"name": "report.txt", "part_size": PART, "checksum": sha256(body), **_moments(state), **facts}
    if state in {State.AVAILABLE, State.TRASHED}:
        fields["etag"] = "0" * 32
    with transaction.atomic():
        Usage.objects.locked(owner.pk).change(files=1, bytes=len(body))
        file = File.objects.create(owner=owner, size=len(body), state=state, **fields)
    if bucket is not None:
        bucket.write(file.key, body)
    file.refresh_from_db()
    return file


def _moments(state: State) -> dict[str, Any]:
    return {
        State.UPLOADING: {"expires_at": seconds_from_now(HOUR)},
        State.COMPLETING: {"lease_until": seconds_from_now(HOUR)},
        State.AVAILABLE: {"available_at": Now()},
        State.TRASHED: {"available_at": Now(), "purge_after": seconds_from_now(HOUR)},
        State.DELETING: {},
    }[state]


def database_rows() -> dict[str, list[dict[str, Any]]]:
    """Return all rows of all models."""
    models = apps.get_models(include_auto_created=True)
    return {model._meta.label: list(model._default_manager.order_by("pk").values()) for model in models}


def stored_usage(owner: User) -> tuple[int, int]:
    """Return the files and bytes in the usage of this person."""
    usage = Usage.objects.filter(owner=owner).first()
    return (usage.files, usage.bytes) if usage else (0, 0)


def is_all_deleted(bucket: Bucket, owner: User) -> bool:
    """Return whether no row, object, part or usage is left."""
    left = (File.objects.count(), bucket.objects(), bucket.multipart_uploads(), stored_usage(owner))
    return left == (0, {}, [], (0, 0))


def binary_content(size: int) -> bytes:
    """Return binary data whose parts differ."""
    block = b"\x00\xff" + hashlib.sha256(str(size).encode()).digest() * 2000
    return (block * (size // len(block) + 1))[:size]
