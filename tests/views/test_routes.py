"""Check every route, verb and role against a table of expected status codes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.db.models.functions import Now
from django.http import HttpResponseBase, StreamingHttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from amalga.log import LINK_PATHS
from tests.conftest import signed_in
from tests.support import factories, form_client, people_routes, saved_routes
from tests.support.account_routes import ACCOUNTS, VERBS, may_have_changed
from tests.support.admin_routes import ADMIN, ADMIN_USERS
from tests.support.form_client import Chosen, Form
from tests.support.guest_routes import GUEST_ROUTES
from tests.support.guests import create_request
from tests.support.people_routes import PEOPLE
from tests.support.share_routes import GUESTS, SHARED
from tests.support.stores import Bucket
from tests.support.upload_client import sha256
from tests.support.web_app_routes import WEB_APP_ROUTES
from uploads.models import Event, File, Folder, Notification, Report, ShareLink, State, Tag, apply_deltas, create_link
from uploads.services import folders
from uploads.services.guess_limit import LINK_GUESSES

pytestmark = pytest.mark.django_db

# alice owns the objects in every URL below
USERS = ("anonymous", "charlie", "viewer", "bob", "alice", "manager", "root")

# For a verb without a status, whose 405 is decided before anything about the user.
FEW_USERS = ("anonymous", "alice", "root")

# Status per route and verb for these seven users. A missing verb is 405 for every signed-in user;
# "login" is a redirect to the login page.
PAGES: dict[str, dict[str, str]] = {
    "library": {"GET": "login 200 200 200 200 200 200"},
    "create_folder": {"POST": "login 403 403 302 302 302 302"},
    "folder": {"GET": "login 404 200 200 200 200 200"},
    "rename_folder": {"POST": "login 404 403 403 302 302 302"},
    "move_folder": dict.fromkeys(("GET", "POST"), "login 404 403 403 200 200 200"),
    "restore_folder": {"POST": "login 404 404 404 302 302 302"},
    "folder_access": {"GET": "login 404 403 403 403 200 200", "POST": "login 404 403 403 403 302 302"},
    "remove_folder": {"GET": "login 404 403 403 200 200 200", "POST": "login 404 403 403 302 302 302"},
    "request_files": dict.fromkeys(("GET", "POST"), "login 404 403 200 200 200 200"),
    "file_requests": {"GET": "login 200 200 200 200 200 200"},
    "close_file_request": {"POST": "login 404 404 404 302 302 302"},
    "dismiss_onboarding": {"POST": "login 302 302 302 302 302 302"},
    "quarantine": {"GET": "login 403 403 403 403 200 200"},
    "release_file": {"POST": "login 404 404 404 404 302 302"},
    "delete_quarantined": {"POST": "login 404 404 404 404 302 302"},
    "tags": {"GET": "login 200 200 200 200 200 200"},
    "upload": dict.fromkeys(("GET", "POST"), "login 403 403 200 200 200 200"),
    "unfinished": {"GET": "login 200 200 200 200 200 200"},
    "cancel_upload": {"POST": "login 404 404 404 302 404 404"},
    "notifications": {"GET": "login 200 200 200 200 200 200"},
    "notification_settings": dict.fromkeys(("GET", "HEAD"), "login 200 200 200 200 200 200")
    | {"POST": "login 302 302 302 302 302 302"},
    "read_notification": {"POST": "login 404 404 404 302 404 404"},
    "read_all_notifications": {"POST": "login 302 302 302 302 302 302"},
    "trash": {"GET": "login 200 200 200 200 200 200"},
    "undo": {"POST": "login 409 409 409 409 409 409"},
    "bulk": {"POST": "login 302 302 302 302 302 302"},
    "selection_count": {"POST": "login 200 200 200 200 200 200"},
    "download_zip": {"GET": "login 400 400 400 400 400 400", "POST": "login 404 200 200 200 200 200"},
    "file": {"GET": "login 404 200 200 200 200 200"},
    "download": {"GET": "login 404 302 302 302 302 302", "HEAD": "login 404 200 200 200 200 200"},
    "download_version": {"GET": "login 404 302 302 302 302 302", "HEAD": "login 404 200 200 200 200 200"},
    "preview": {"GET": "login 404 404 404 404 404 404"},
    "preview_page": {"GET": "login 404 404 404 404 404 404"},
    "thumbnail": {"GET": "login 404 404 404 404 404 404"},
    "rename_file": {"POST": "login 404 403 403 302 302 302"},
    "move_file": dict.fromkeys(("GET", "POST"), "login 404 403 403 200 200 200"),
    "tag_file": {"POST": "login 404 403 403 302 302 302"},
    "change_visibility": {"POST": "login 404 403 403 302 403 403"},
    "replace_file": {"GET": "login 404 403 403 200 200 200"},
    "restore_version": {"POST": "login 404 403 403 302 302 302"},
    "trash_file": {"POST": "login 404 404 404 302 302 302"},
    "restore_file": {"POST": "login 404 404 404 302 302 302"},
    "share_selection": {"POST": "login 403 403 200 200 200 200"},
    "share_file": dict.fromkeys(("GET", "POST"), "login 403 403 200 200 200 200"),
    "share_folder": dict.fromkeys(("GET", "POST"), "login 403 403 200 200 200 200"),
    "folder_sharing": {"POST": "login 404 403 403 403 302 302"},
    "links": {"GET": "login 200 200 200 200 200 200"},
    "all_links": {"GET": "login 403 403 403 403 200 200"},
    "revoke_link": {"POST": "login 404 404 404 302 302 302"},
    "revoke_links": {"POST": "login 302 302 302 302 302 302"},
    "set_language": dict.fromkeys(VERBS, "302 302 302 302 302 302 302"),
}
PROTOCOL: dict[str, dict[str, str]] = {
    "uploads": dict.fromkeys(("GET", "HEAD", "POST"), "403 403 403 200 200 200 200"),
    "upload_detail": dict.fromkeys(("GET", "HEAD"), "403 404 404 404 200 404 404")
    | {"DELETE": "403 404 404 404 204 404 404"},
    "sign_parts": {"POST": "403 403 403 404 200 404 404"},
    "conflicts": {"POST": "403 403 403 200 200 200 200"},
    "finish": {"POST": "403 403 403 404 200 404 404"},
}
# Routes by the kind of object in their URL.
ABOUT_UPLOADS = {"cancel_upload", "upload_detail", "sign_parts"}
ABOUT_VERSIONS = {"restore_version", "download_version"}
ABOUT_FILES = {"file", "download", "preview", "preview_page", "thumbnail",
               "trash_file", "restore_file", "replace_file", "rename_file",
               "move_file", "tag_file", "change_visibility", "share_file", "favorite_file"}  # fmt: skip
SHARED_FILES = {"shared_file", "shared_file_download", "shared_preview", "shared_preview_page", "shared_thumbnail"}
ABOUT_FOLDERS = {"folder", "rename_folder", "restore_folder", "move_folder", "folder_access", "remove_folder",
                 "request_files", "share_folder", "folder_sharing", "favorite_folder"}  # fmt: skip
ABOUT_REQUESTS = {"close_file_request"}
ABOUT_QUARANTINE = {"release_file", "delete_quarantined"}
# Valid form data per route.
FORMS = {"rename_file": "name=b.txt", "tag_file": "add=a", "change_visibility": "visibility=private",
         "folder_access": "access=everyone", "share_file": "days=7", "share_folder": "days=7",
         "release_file": "reason=known", "save_search": "name=a&query=%3Fq%3Da",
         "request_files": "title=a&days=1&max_files=1&max_file_bytes=1+GB&max_bytes=1+GB&ask_name=no&ask_address=no",
         }  # fmt: skip
TABLE = {**PAGES, **ACCOUNTS, **PEOPLE, **PROTOCOL, **saved_routes.SAVED}
UNKNOWN_TOKEN = "a" * 32


def routes(resolver: URLResolver | None = None, prefix: str = "") -> Iterator[str]:
    """Return the name of every configured route, or its pattern if it has no name."""
    for entry in (resolver or get_resolver()).url_patterns:
        if isinstance(entry, URLResolver):
            yield from routes(entry, f"{prefix}{entry.namespace}:" if entry.namespace else prefix)
        elif isinstance(entry, URLPattern):
            yield _name(entry, prefix)


def _name(entry: URLPattern, prefix: str) -> str:
    if entry.name:
        return prefix + entry.name
    return prefix + ("catch-all" if "url" in str(entry.pattern) else str(entry.pattern))


@pytest.fixture
def people(roles: None) -> dict[str, Client]:
    users = {
        "charlie": factories.create_user("charlie"),
        "viewer": factories.create_user("viewer", "viewers"),
        "bob": factories.create_user("bob", "uploaders"),
        "alice": factories.create_user("alice", "uploaders"),
        "manager": factories.create_user("manager", "managers"),
        "clerk": factories.create_user("clerk", is_staff=True),
        "root": factories.create_user("root", is_staff=True, is_superuser=True),
    }
    return {"anonymous": Client(), **{name: signed_in(user) for name, user in users.items()}}


class RouteRequest:
    """One request to a route, with new objects that alice owns."""

    def __init__(self, route: str, bucket: Bucket) -> None:
        self.route = route
        alice = User.objects.get(username="alice")
        states = dict.fromkeys(ABOUT_UPLOADS | set(PROTOCOL), State.UPLOADING) | {"restore_file": State.TRASHED}
        self.file = factories.create_file(alice, bucket=bucket, state=states.get(route, State.AVAILABLE))
        if route in ABOUT_QUARANTINE:
            File.objects.filter(pk=self.file.pk).update(scan_status="infected", quarantined=True)
        self.folder = Folder.objects.create(name=str(uuid.uuid4()), created_by=alice)
        self.link, self.token = create_link(ShareLink, created_by=alice, name="a.txt", file=self.file.permanent_id)
        self.arguments = arguments(route, self.file, self.folder, self.token)

    @property
    def url(self) -> str:
        if self.route == "revoke_link":
            return reverse(self.route, args=[self.link.pk])
        return reverse(self.route, args=self.arguments)

    def by(self, client: Client, verb: str, **headers: str) -> HttpResponseBase:
        body, content_type = self.body(verb)
        return client.generic(verb, self.url, body, content_type, headers=headers or None)

    def body(self, verb: str) -> tuple[str | bytes, str]:
        if verb not in {"POST", "PUT"}:
            return b"", "application/octet-stream"
        if self.route == "upload":
            return Form([Chosen("a.txt")]).body(), form_client.MULTIPART
        if self.route in PROTOCOL:
            return self.call(), "application/json"
        return self.form(), "application/x-www-form-urlencoded"

    def form(self) -> str:
        if self.route in {"bulk", "download_zip", "share_selection"}:
            return f"do=trash&file={self.file.pk}"
        if self.route in {"create_folder", "rename_folder"}:
            return f"name={uuid.uuid4()}"
        return people_routes.form(self.route) if self.route in PEOPLE else FORMS.get(self.route, "")

    def call(self) -> str:
        if self.route in {"uploads", "conflicts"}:
            return f'{{"files": [{{"token": "{uuid.uuid4()}", "name": "a.txt", "size": 5}}]}}'
        if self.route == "sign_parts":
            return '{"parts": [{"number": 1}]}'
        return f'{{"files": [{{"id": "{self.file.pk}", "sha256": ["{sha256(b"hello")}"]}}]}}'


def arguments(route: str, file: File, folder: Folder, token: str = UNKNOWN_TOKEN) -> list[Any]:
    if route in SHARED:
        about = {"shared_folder": folder.pk} | dict.fromkeys(SHARED_FILES, file.pk)
        return [token, about[route]] if route in about else [token]
    if route == "revoke_link":
        return [1]
    if route in PEOPLE:
        return people_routes.arguments(route)
    if route in ABOUT_FOLDERS:
        return [folder.pk]
    if route in ABOUT_VERSIONS:
        return [file.pk, file.pk]
    if route in {"mfa_edit_webauthn", "mfa_remove_webauthn", "sso_disconnect", "delete_search"}:
        return [1]
    if route in ABOUT_REQUESTS:
        return [create_request(folder, folder.created_by or file.owner)[0].pk]
    if route == "read_notification":
        row, _created = Notification.objects.get_or_create(user=file.owner, kind="file_corrupted", key="a")
        return [row.pk]
    return [file.pk] if route in ABOUT_FILES | ABOUT_UPLOADS | ABOUT_QUARANTINE else []


def status_of(response: HttpResponseBase) -> str:
    if isinstance(response, StreamingHttpResponse):
        response.getvalue()  # an unread ZIP holds its slot
    to_login = response.status_code == 302 and "/login/" in response.headers["Location"]
    return "login" if to_login else str(response.status_code)


def has_status(statuses: dict[str, str], verb: str) -> bool:
    return verb in statuses or (verb == "HEAD" and "GET" in statuses)


def expected_status(route: str, verb: str, name: str) -> str:
    statuses = TABLE[route]
    if verb == "HEAD" and verb not in statuses and route not in PROTOCOL:
        verb = "GET"
    if verb in statuses:
        return dict(zip(USERS, statuses[verb].split(), strict=True))[name]
    if name != "anonymous":
        return "405"
    return "403" if route in PROTOCOL else "login"


def test_every_route_is_in_the_table() -> None:
    assert set(routes()) == {*TABLE, *ADMIN, *GUEST_ROUTES, *SHARED, *WEB_APP_ROUTES}


@pytest.mark.parametrize("route", TABLE)
def test_users_get_the_expected_status(route: str, people: dict[str, Client], bucket: Bucket) -> None:
    wrong = {}
    request = RouteRequest(route, bucket)
    for verb in VERBS:
        for name in USERS if has_status(TABLE[route], verb) else FEW_USERS:
            if route == "logout" and name != "anonymous":
                people[name].force_login(user_of(name))
            actual = status_of(request.by(people[name], verb))
            if actual != expected_status(route, verb, name):
                wrong[f"{name} {verb}"] = f"{actual}, not {expected_status(route, verb, name)}"
            if may_have_changed(verb, actual):
                request = RouteRequest(route, bucket)
    assert wrong == {}


# --- guests with a share link -----------------------------------------------------------------


@pytest.fixture(autouse=True)
def reset_guesses() -> None:
    LINK_GUESSES.reset()


def expected_for_guest(route: str, verb: str, state: str) -> str:
    statuses = SHARED[route].get(verb) or (SHARED[route].get("GET") if verb == "HEAD" else None)
    return dict(zip(GUESTS, statuses.split(), strict=True))[state] if statuses else "405"


@pytest.mark.parametrize("route", SHARED)
def test_guests_get_the_expected_status(route: str, people: dict[str, Client], bucket: Bucket) -> None:
    """The share link decides, with and without an account."""
    facts: dict[str, dict[str, Any]] = {
        "view_only": {"view_only": True}, "locked": {"password": "md5$x$x"}, "revoked": {"revoked_at": Now()},
        "unknown": {"token_digest": b"another"},
    }  # fmt: skip
    wrong = {}
    for state in GUESTS:
        request = RouteRequest(route, bucket)
        ShareLink.objects.filter(pk=request.link.pk).update(**facts.get(state, {}) or {"note": ""})
        for name in ("anonymous", "charlie", "alice"):
            for verb in VERBS:
                if not has_status(SHARED[route], verb) and (state, name) != (GUESTS[0], "anonymous"):
                    continue
                LINK_GUESSES.reset()
                actual = status_of(request.by(people[name], verb))
                if actual != expected_for_guest(route, verb, state):
                    wrong[f"{state} {name} {verb}"] = f"{actual}, not {expected_for_guest(route, verb, state)}"
    assert wrong == {}


def test_guest_with_a_share_link_is_anonymous_everywhere_else(people: dict[str, Client], bucket: Bucket) -> None:
    guest, wrong = Client(), {}
    opened = RouteRequest("shared", bucket)
    ShareLink.objects.filter(pk=opened.link.pk).update(password=make_password("password"))
    assert guest.post(reverse("shared_password", args=[opened.token]), {"password": "password"}).status_code == 302
    assert guest.get(opened.url).status_code == 200
    for cookie in guest.cookies.values():
        cookie["path"] = "/"
    for route in TABLE:
        request = RouteRequest(route, bucket)
        for verb in VERBS:
            actual = status_of(request.by(guest, verb))
            if actual != expected_status(route, verb, "anonymous"):
                wrong[f"{verb} {route}"] = actual
    assert wrong == {}


def user_of(name: str) -> User:
    return User.objects.get(username=name)


def _folder_of(person: User) -> Folder:
    folder = folders.ensure(["Brand"], by=person)["Brand"]
    assert isinstance(folder, Folder)
    return folder


def _some_task() -> DBTaskResult[Any, Any]:
    task = {"args_kwargs": {"args": [], "kwargs": {}}, "queue_name": "default", "task_path": "x", "backend_name": "x"}
    return DBTaskResult.objects.first() or DBTaskResult.objects.create(run_after=timezone.now(), **task)


def admin_url(route: str) -> str:
    """Return the admin URL of an object that belongs to alice."""
    alice = user_of("alice")
    about = {
        "file": factories.create_file(alice).pk,
        "usage": alice.pk,
        "user": alice.pk,
        "group": Group.objects.get(name="uploaders").pk,
        "folder": _folder_of(alice).pk,
        "tag": Tag.objects.get_or_create(name="urgent")[0].pk,
        "report": Report.objects.get_or_create(command="fsck")[0].pk,
        "event": Event.objects.order_by("pk").values_list("pk", flat=True)[0],
        "dbtaskresult": _some_task().pk,
    }
    if route == "admin:catch-all":
        return "/admin/nothing/of/that/kind"
    if route == "admin:app_list":
        return reverse(route, args=["uploads"])
    if route in {"admin:view_on_site", "nowhere"}:
        return f"/admin/r/{ContentType.objects.get_for_model(File).pk}/{about['file']}/"
    if route == "admin:<path:object_id>/":
        return reverse("admin:uploads_file_changelist") + f"{about['file']}/"
    if route.endswith(("_history", "_delete", "_change")) and route != "admin:password_change":
        model = next(name for name in about if f"_{name}_" in route)
        return reverse(route, args=[about[model]])
    return reverse(route)


@pytest.mark.parametrize("route", ADMIN)
def test_admin_is_for_staff_with_permissions(route: str, people: dict[str, Client]) -> None:
    actual = [status_of(people[name].get(admin_url(route))) for name in ADMIN_USERS]
    assert actual == ADMIN[route].split()


def every_address() -> Iterator[str]:
    """Yield the URL of every route, with existing objects."""
    alice = user_of("alice")
    folder = Folder.objects.create(name="Brand", created_by=alice)
    for route in TABLE:
        yield reverse(route, args=arguments(route, factories.create_file(alice), folder))
    yield from (admin_url(route) for route in ADMIN)


def test_anonymous_users_can_open_only_login_pages_and_links(people: dict[str, Client]) -> None:
    open_urls = {url for url in every_address() if people["anonymous"].get(url).status_code == 200}
    links = {url for url in open_urls if url.startswith(LINK_PATHS)}
    assert len(links) == 2
    assert open_urls - links == {reverse("login"), reverse("admin:login")}


def tables_without_log() -> dict[str, Any]:
    """Return all rows of the database, without the audit log and sessions."""
    rows = factories.database_rows()
    del rows["uploads.Event"], rows["sessions.Session"]
    return rows


@pytest.mark.slow
def test_get_and_head_change_nothing_in_the_database(people: dict[str, Client]) -> None:
    urls = list(every_address())
    apply_deltas()  # otherwise the dashboard applies pending deltas
    before = tables_without_log()
    for name in ("alice", "manager", "root"):
        for url in urls:
            people[name].get(url)
            people[name].head(url)
    assert tables_without_log() == before


def changing_routes() -> list[tuple[str, str]]:
    return [
        (route, verb) for route, statuses in TABLE.items() for verb in ("POST", "PUT", "DELETE") if verb in statuses
    ]


def csrf_client(user: User) -> Client:
    """Return a client with CSRF checks."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    return client


def test_changes_without_csrf_token_are_refused(people: dict[str, Client], bucket: Bucket) -> None:
    clients = {"login": Client(enforce_csrf_checks=True), "": csrf_client(user_of("alice"))}
    requests = [(RouteRequest(route, bucket), verb) for route, verb in changing_routes()]
    before, objects, accepted = factories.database_rows(), bucket.objects(), []
    for request, verb in requests:
        if request.by(clients["login" if request.route == "login" else ""], verb).status_code != 403:
            accepted.append(f"{verb} {request.route}")
    after = factories.database_rows()
    before["sessions.Session"] = after["sessions.Session"]
    assert (accepted, after, bucket.objects()) == ([], before, objects)


def test_changes_from_another_site_are_refused(people: dict[str, Client], bucket: Bucket) -> None:
    clients = {"login": Client(enforce_csrf_checks=True), "": csrf_client(user_of("alice"))}
    tokens = {
        "login": clients["login"].get(reverse("login")).context["csrf_token"],
        "": clients[""].get("/upload/").context["csrf_token"],
    }
    requests = [(RouteRequest(route, bucket), verb) for route, verb in changing_routes()]
    before, accepted = factories.database_rows(), []
    for request, verb in requests:
        key = "login" if request.route == "login" else ""
        headers = {"Origin": "https://evil.example", "X-CSRFToken": str(tokens[key])}
        if request.by(clients[key], verb, **headers).status_code != 403:
            accepted.append(f"{verb} {request.route}")
    after = factories.database_rows()
    for table in ("sessions.Session", "usersessions.UserSession"):  # last activity
        before[table] = after[table]
    assert (accepted, after) == ([], before)


def test_change_with_a_csrf_token_succeeds(people: dict[str, Client]) -> None:
    """Without this, the two tests above would prove nothing."""
    client = csrf_client(user_of("alice"))
    token = str(client.get("/upload/").context["csrf_token"])
    file = factories.create_file(user_of("alice"))
    response: Any = client.post(reverse("trash_file", args=[file.pk]), headers={"X-CSRFToken": token})
    assert response.status_code == 302
    file.refresh_from_db()
    assert file.state == State.TRASHED
