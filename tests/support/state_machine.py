"""A Hypothesis state machine: random steps with files, and invariants that must hold after each step.

R1 each available or trashed file has an object with its size, ETag and bytes; R2 and R4 everything in the bucket has a
row; files reported as stored are never lost; and usage is the sum of the rows.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, initialize, invariant, multiple, rule

from tests.faults.invariants import OWN_KEYS
from tests.faults.processes import ForkServer
from tests.support import factories
from tests.support.file_rows import stored_usage, usage_by_rows
from tests.support.storage_proxies import StorageProxy
from tests.support.stores import Bucket
from tests.support.upload_client import Upload, UploadClient, composite, put_bytes
from uploads.models import ALLOWED_TRANSITIONS, Action, Event, File, State
from uploads.services.bucket_guard import ensure_marker

PART_BYTES = 10
QUOTA_BYTES = 90
QUOTA_FILES = 6
STORED = {State.AVAILABLE, State.TRASHED}
LONG_AGO = timedelta(hours=1)
HELLO_ETAG = "5d41402abc4b2a76b9719d911017c592"  # the MD5 of b"hello", the contents of the neighbor's file


@dataclass(frozen=True)
class World:
    """The environment of the machine, shared by all its runs."""

    people: list[User]
    senders: list[UploadClient]
    bucket: Bucket
    neighbour: User  # has one file, which no step changes
    storage_proxy: StorageProxy  # between the app and its storage
    fork_server: ForkServer  # whose children crash

    def empty(self) -> None:
        """Empty tables and bucket. TRUNCATE bypasses the trigger that forbids deletions."""
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE uploads_partdigest, uploads_file, uploads_usage, uploads_event CASCADE")
        self.storage_proxy.rules.clear()
        self.bucket.empty()
        ensure_marker()
        # As in a library in use: the embedded storage deletes an empty folder with its last object, and then
        # loses the multipart uploads in it.
        file = factories.create_file(self.neighbour, bucket=self.bucket)
        File.objects.filter(pk=file.pk).update(etag=HELLO_ETAG)
        Event.objects.record(Action.UPLOAD, by=self.neighbour, file=file)


@dataclass(eq=False)
class TrackedUpload:
    """One upload as the machine knows it."""

    upload: Upload
    person: int
    key: str
    state: str = State.UPLOADING
    reported_stored: bool = False
    removed: bool = False  # in the trash, so it may be purged
    urls_expired: bool = False

    permanent_id: uuid.UUID = field(default_factory=uuid.uuid4)  # the ID in the URL of its page

    def row(self) -> File | None:
        return File.objects.filter(pk=self.upload.id).first()


class FileStateMachine(RuleBasedStateMachine):
    """Two people, small files, and all operations on them."""

    world: World
    tracked_uploads = Bundle("tracked_uploads")

    def __init__(self) -> None:
        super().__init__()
        self.world.empty()
        self.all: list[TrackedUpload] = []

    # --- steps --------------------------------------------------------------------------------

    @initialize(target=tracked_uploads)
    def start_uploads(self) -> MultipleResults[TrackedUpload]:
        return multiple(*[self._start(person, size) for person, size in ((0, 25), (1, 12), (0, 3))])

    @rule(target=tracked_uploads, person=st.integers(0, 1), size=st.integers(0, 25))
    def start(self, person: int, size: int) -> TrackedUpload | MultipleResults[TrackedUpload]:
        files, used_bytes = stored_usage(self.world.people[person])
        if files < QUOTA_FILES and used_bytes + size <= QUOTA_BYTES:
            return self._start(person, size)
        upload_client = self.world.senders[person]
        assert upload_client.announce(upload_client.item(bytes(size))).status_code in {
            200,
            413,
        }  # 200: an upload had expired
        return multiple()

    @rule(target=tracked_uploads, tracked=tracked_uploads, size=st.integers(1, 12))
    def replace(self, tracked: TrackedUpload, size: int) -> TrackedUpload | MultipleResults[TrackedUpload]:
        """Start a new version of an available file."""
        files, used_bytes = stored_usage(self.world.people[tracked.person])
        row = tracked.row()
        if row is None or row.state != State.AVAILABLE or files >= QUOTA_FILES or used_bytes + size > QUOTA_BYTES:
            return multiple()
        return self._start(tracked.person, size, replaces=tracked.permanent_id)

    def _start(self, person: int, size: int, **more: uuid.UUID) -> TrackedUpload:
        body = bytes([len(self.all) % 256]) * size
        upload = self.world.senders[person].start(body, **more)
        row = upload.row()
        tracked = TrackedUpload(upload, person, row.key, permanent_id=row.permanent_id)
        self.all.append(tracked)
        return tracked

    @rule(tracked=tracked_uploads, number=st.integers(1, 3))
    def put(self, tracked: TrackedUpload, number: int) -> None:
        """Request a URL and send a part, if the upload is still open."""
        number = min(number, tracked.upload.part_count)
        part = {"number": number, "sha256": tracked.upload.digests[number - 1]}
        response = self._sender(tracked).request_parts(tracked.upload.id, [part])
        row = tracked.row()
        assert (response.status_code == 200) == (row is not None and is_open(row))
        if response.status_code == 200:
            (signed,) = response.json()["parts"]
            tracked.upload.signed[number], tracked.urls_expired = signed, False
            assert put_bytes(signed, tracked.upload.pieces[number - 1]).status == 200

    @rule(tracked=tracked_uploads)
    def put_all_parts(self, tracked: TrackedUpload) -> None:
        for number in tracked.upload.numbers:
            self.put(tracked, number)

    @rule(tracked=tracked_uploads)
    def send_whole(self, tracked: TrackedUpload) -> None:
        """Send all parts and finish; this succeeds unless the upload has expired."""
        row = tracked.row()
        well = row is not None and is_open(row)
        self.put_all_parts(tracked)
        self.finish(tracked)
        assert tracked.reported_stored or not well

    @rule(tracked=tracked_uploads)
    def put_late(self, tracked: TrackedUpload) -> None:
        """Reuse an earlier URL in any state."""
        if tracked.urls_expired:
            return
        for number, signed in tracked.upload.signed.items():
            assert put_bytes(signed, tracked.upload.pieces[number - 1]).status in {200, 404}

    @rule(tracked=tracked_uploads)
    def finish(self, tracked: TrackedUpload) -> None:
        response = self._sender(tracked).finish(tracked.upload)
        assert response.status_code in {200, 202, 404, 409, 410}
        row = tracked.row()
        assert (response.status_code == 200) == (row is not None and row.state == State.AVAILABLE)
        tracked.reported_stored |= response.status_code == 200

    @rule(tracked=tracked_uploads)
    def cancel(self, tracked: TrackedUpload) -> None:
        assert self._sender(tracked).cancel(tracked.upload).status_code in {204, 404, 409}

    @rule(tracked=tracked_uploads)
    def trash(self, tracked: TrackedUpload) -> None:
        self._press(tracked, "trash")
        for version in self._versions(tracked):
            row = version.row()
            assert row is None or row.state != State.AVAILABLE
            version.removed = version.removed or (row is not None and row.state == State.TRASHED)

    @rule(tracked=tracked_uploads)
    def restore(self, tracked: TrackedUpload) -> None:
        whole = File.objects.by_permanent_id(tracked.permanent_id).filter(state__in=STORED).exists()
        self._press(tracked, "restore")
        for version in self._versions(tracked) if whole else []:
            row = version.row()
            assert row is None or row.state != State.TRASHED
            version.removed = version.removed and (row is None or row.state != State.AVAILABLE)

    def _press(self, tracked: TrackedUpload, button: str) -> None:
        response = self._sender(tracked).client.post(f"/files/{tracked.permanent_id}/{button}")
        assert response.status_code in {302, 404, 409}

    def _versions(self, tracked: TrackedUpload) -> list[TrackedUpload]:
        return [other for other in self.all if other.permanent_id == tracked.permanent_id]

    @rule(tracked=tracked_uploads)
    def try_as_another_user(self, tracked: TrackedUpload) -> None:
        stranger = self.world.senders[1 - tracked.person]
        before = File.objects.filter(pk=tracked.upload.id).values().first()
        responses = [
            stranger.finish(tracked.upload),
            stranger.cancel(tracked.upload),
            stranger.retrieve(tracked.upload),
        ]
        assert {response.status_code for response in responses} == {404}
        assert File.objects.filter(pk=tracked.upload.id).values().first() == before

    # --- invariants ---------------------------------------------------------------------------

    @invariant()
    def check_stored_objects(self) -> None:
        for tracked in self.all:
            row = tracked.row()
            if row is None or row.state not in STORED:
                continue
            stored = self.world.bucket.client.get_object(Bucket=self.world.bucket.name, Key=row.key)
            assert stored["Body"].read() == tracked.upload.body
            assert (stored["ContentLength"], stored["ETag"].strip('"')) == (row.size, row.etag)
            assert row.checksum == composite(tracked.upload.pieces)

    @invariant()
    def check_objects_have_rows(self) -> None:
        keys = set(File.objects.values_list("key", flat=True))
        late = {tracked.key for tracked in self.all if tracked.upload.signed and not tracked.urls_expired}
        assert set(self.world.bucket.objects()) - OWN_KEYS <= keys
        assert {key for key, _id in self.world.bucket.multipart_uploads()} <= keys
        assert late <= keys  # a URL that can still upload bytes has a row

    @invariant()
    def check_reported_files(self) -> None:
        for tracked in self.all:
            if tracked.reported_stored and not tracked.removed:
                assert File.objects.get(pk=tracked.upload.id).state == State.AVAILABLE

    @invariant()
    def check_keys_and_transitions(self) -> None:
        for tracked in self.all:
            row = tracked.row()
            if row is None:
                continue
            assert row.key == tracked.key
            assert row.state == tracked.state or reachable(tracked.state, row.state)
            tracked.state = row.state

    @invariant()
    def check_usage(self) -> None:
        for person in self.world.people:
            files, used_bytes = stored_usage(person)
            assert (files, used_bytes) == usage_by_rows(person)
            assert files <= QUOTA_FILES
            assert used_bytes <= QUOTA_BYTES

    def _sender(self, tracked: TrackedUpload) -> UploadClient:
        return self.world.senders[tracked.person]


def is_open(row: File) -> bool:
    return row.state == State.UPLOADING and row.expires_at is not None and row.expires_at > timezone.now()


def reachable(source: str, target: str) -> bool:
    """Return whether allowed transitions lead from one state to the other."""
    states = {State(source)}
    for _step in State:
        states |= {state for state in State if ALLOWED_TRANSITIONS[state] & states}
    return State(target) in states
