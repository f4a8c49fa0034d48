"""What people do with files, step by step, and what holds at any moment of it: for a machine that mixes the steps.

R1 what is available (or in the trash) is there, with the row's size, ETag and bytes; R2 and R4 everything in the bucket
has a row; what was told to be stored is lost to nobody; and what is used is the sum of the rows.
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
HELLO_ETAG = "5d41402abc4b2a76b9719d911017c592"  # the MD5 of what a shelf's file holds


@dataclass(frozen=True)
class World:
    """What the machine runs in, the same for every run of it."""

    people: list[User]
    senders: list[UploadClient]
    bucket: Bucket
    neighbour: User  # whose one file nobody touches
    front: StorageProxy  # through which the app asks its store
    fork_server: ForkServer  # whose children crash

    def empty(self) -> None:
        """Past the trigger that forbids it to everybody else."""
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE uploads_partdigest, uploads_file, uploads_usage, uploads_event CASCADE")
        self.front.rules.clear()
        self.bucket.empty()
        ensure_marker()
        # As in a library that is in use: the embedded store takes an empty folder away with its last object, and
        # then knows nothing more of the uploads that were under way in it.
        file = factories.create_file(self.neighbour, bucket=self.bucket)
        File.objects.filter(pk=file.pk).update(etag=HELLO_ETAG)
        Event.objects.record(Action.UPLOAD, by=self.neighbour, file=file)


@dataclass(eq=False)
class Thing:
    """One upload as the machine knows it."""

    upload: Upload
    person: int
    key: str
    state: str = State.UPLOADING
    told_stored: bool = False
    removed: bool = False  # somebody put it into the trash, where it may end
    urls_are_dead: bool = False

    link: uuid.UUID = field(default_factory=uuid.uuid4)  # of the page that people know the file by

    def row(self) -> File | None:
        return File.objects.filter(pk=self.upload.id).first()


class FileStateMachine(RuleBasedStateMachine):
    """Two people, small files, and everything that may happen to them."""

    world: World
    things = Bundle("things")

    def __init__(self) -> None:
        super().__init__()
        self.world.empty()
        self.all: list[Thing] = []

    # --- what people do -----------------------------------------------------------------------

    @initialize(target=things)
    def begin_with_some(self) -> MultipleResults[Thing]:
        return multiple(*[self._start(person, size) for person, size in ((0, 25), (1, 12), (0, 3))])

    @rule(target=things, person=st.integers(0, 1), size=st.integers(0, 25))
    def start(self, person: int, size: int) -> Thing | MultipleResults[Thing]:
        files, taken = stored_usage(self.world.people[person])
        if files < QUOTA_FILES and taken + size <= QUOTA_BYTES:
            return self._start(person, size)
        upload_client = self.world.senders[person]
        assert upload_client.announce(upload_client.item(bytes(size))).status_code in {
            200,
            413,
        }  # 200: something had expired
        return multiple()

    @rule(target=things, thing=things, size=st.integers(1, 12))
    def replace(self, thing: Thing, size: int) -> Thing | MultipleResults[Thing]:
        """Begin a new version of what is there."""
        files, taken = stored_usage(self.world.people[thing.person])
        row = thing.row()
        if row is None or row.state != State.AVAILABLE or files >= QUOTA_FILES or taken + size > QUOTA_BYTES:
            return multiple()
        return self._start(thing.person, size, replaces=thing.link)

    def _start(self, person: int, size: int, **more: uuid.UUID) -> Thing:
        body = bytes([len(self.all) % 256]) * size
        upload = self.world.senders[person].start(body, **more)
        row = upload.row()
        thing = Thing(upload, person, row.key, link=row.link)
        self.all.append(thing)
        return thing

    @rule(thing=things, number=st.integers(1, 3))
    def put(self, thing: Thing, number: int) -> None:
        """Ask for a URL and send a part, if the upload still takes one."""
        number = min(number, thing.upload.part_count)
        part = {"number": number, "sha256": thing.upload.digests[number - 1]}
        answer = self._sender(thing).request_parts(thing.upload.id, [part])
        row = thing.row()
        assert (answer.status_code == 200) == (row is not None and is_open(row))
        if answer.status_code == 200:
            (signed,) = answer.json()["parts"]
            thing.upload.signed[number], thing.urls_are_dead = signed, False
            assert put_bytes(signed, thing.upload.pieces[number - 1]).status == 200

    @rule(thing=things)
    def put_everything(self, thing: Thing) -> None:
        for number in thing.upload.numbers:
            self.put(thing, number)

    @rule(thing=things)
    def send_whole(self, thing: Thing) -> None:
        """What goes well, as long as the upload has time."""
        row = thing.row()
        well = row is not None and is_open(row)
        self.put_everything(thing)
        self.finish(thing)
        assert thing.told_stored or not well

    @rule(thing=things)
    def put_late(self, thing: Thing) -> None:
        """A URL from before, used again whatever has happened since."""
        if thing.urls_are_dead:
            return
        for number, signed in thing.upload.signed.items():
            assert put_bytes(signed, thing.upload.pieces[number - 1]).status in {200, 404}

    @rule(thing=things)
    def finish(self, thing: Thing) -> None:
        answer = self._sender(thing).finish(thing.upload)
        assert answer.status_code in {200, 202, 404, 409, 410}
        row = thing.row()
        assert (answer.status_code == 200) == (row is not None and row.state == State.AVAILABLE)
        thing.told_stored |= answer.status_code == 200

    @rule(thing=things)
    def cancel(self, thing: Thing) -> None:
        assert self._sender(thing).cancel(thing.upload).status_code in {204, 404, 409}

    @rule(thing=things)
    def trash(self, thing: Thing) -> None:
        self._press(thing, "trash")
        for version in self._versions(thing):
            row = version.row()
            assert row is None or row.state != State.AVAILABLE
            version.removed = version.removed or (row is not None and row.state == State.TRASHED)

    @rule(thing=things)
    def restore(self, thing: Thing) -> None:
        whole = File.objects.by_link(thing.link).filter(state__in=STORED).exists()
        self._press(thing, "restore")
        for version in self._versions(thing) if whole else []:
            row = version.row()
            assert row is None or row.state != State.TRASHED
            version.removed = version.removed and (row is None or row.state != State.AVAILABLE)

    def _press(self, thing: Thing, button: str) -> None:
        answer = self._sender(thing).client.post(f"/files/{thing.link}/{button}")
        assert answer.status_code in {302, 404, 409}

    def _versions(self, thing: Thing) -> list[Thing]:
        return [one for one in self.all if one.link == thing.link]

    @rule(thing=things)
    def a_stranger_tries(self, thing: Thing) -> None:
        stranger = self.world.senders[1 - thing.person]
        before = File.objects.filter(pk=thing.upload.id).values().first()
        answers = [stranger.finish(thing.upload), stranger.cancel(thing.upload), stranger.look(thing.upload)]
        assert {answer.status_code for answer in answers} == {404}
        assert File.objects.filter(pk=thing.upload.id).values().first() == before

    # --- what holds at any moment -------------------------------------------------------------

    @invariant()
    def r1_what_is_stored_is_there(self) -> None:
        for thing in self.all:
            row = thing.row()
            if row is None or row.state not in STORED:
                continue
            stored = self.world.bucket.client.get_object(Bucket=self.world.bucket.name, Key=row.key)
            assert stored["Body"].read() == thing.upload.body
            assert (stored["ContentLength"], stored["ETag"].strip('"')) == (row.size, row.etag)
            assert row.checksum == composite(thing.upload.pieces)

    @invariant()
    def r2_and_r4_everything_in_the_bucket_has_a_row(self) -> None:
        keys = set(File.objects.values_list("key", flat=True))
        late = {thing.key for thing in self.all if thing.upload.signed and not thing.urls_are_dead}
        assert set(self.world.bucket.objects()) - OWN_KEYS <= keys
        assert {key for key, _id in self.world.bucket.multipart_uploads()} <= keys
        assert late <= keys  # a URL that may still bring bytes has a row to bring them to

    @invariant()
    def nothing_told_to_be_stored_is_lost(self) -> None:
        for thing in self.all:
            if thing.told_stored and not thing.removed:
                assert File.objects.get(pk=thing.upload.id).state == State.AVAILABLE

    @invariant()
    def a_key_is_never_used_again_and_states_move_as_they_may(self) -> None:
        for thing in self.all:
            row = thing.row()
            if row is None:
                continue
            assert row.key == thing.key
            assert row.state == thing.state or reachable(thing.state, row.state)
            thing.state = row.state

    @invariant()
    def what_is_used_is_the_sum_of_the_rows(self) -> None:
        for person in self.world.people:
            files, taken = stored_usage(person)
            assert (files, taken) == usage_by_rows(person)
            assert files <= QUOTA_FILES
            assert taken <= QUOTA_BYTES

    def _sender(self, thing: Thing) -> UploadClient:
        return self.world.senders[thing.person]


def is_open(row: File) -> bool:
    return row.state == State.UPLOADING and row.expires_at is not None and row.expires_at > timezone.now()


def reachable(source: str, target: str) -> bool:
    """Whether moves of the table lead from one state to the other."""
    found = {State(source)}
    for _step in State:
        found |= {state for state in State if ALLOWED_TRANSITIONS[state] & found}
    return State(target) in found
