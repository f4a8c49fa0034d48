"""A folder of alice's, and an open request for files in it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from tests.support.file_rows import ensure_folder
from tests.support.guests import GuestClient, create_request
from tests.support.stores import Bucket
from uploads.models import FileRequest, Folder


@pytest.fixture
def folder(alice: User) -> Folder:
    return ensure_folder("Inbox", by=alice)


@pytest.fixture
def opened(folder: Folder, alice: User, bucket: Bucket) -> tuple[FileRequest, str]:
    return create_request(folder, alice)


@pytest.fixture
def file_request(opened: tuple[FileRequest, str]) -> FileRequest:
    return opened[0]


@pytest.fixture
def token(opened: tuple[FileRequest, str]) -> str:
    return opened[1]


@pytest.fixture
def guest(token: str) -> GuestClient:
    return GuestClient(token, name="Gina", address="gina@example.org")
