"""Expected statuses of the people pages for each role, for tests/views/test_routes.py."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.auth.models import Group, User

from tests.support.account_routes import SAFE, VERBS
from uploads.accounts.invitations import invite
from uploads.accounts.password_reset import create_reset
from uploads.accounts.roles import Role

PUBLIC = {
    **dict.fromkeys(VERBS, "405 405 405 405 405 405 405"),
    **dict.fromkeys((*SAFE, "POST"), "200 200 200 200 200 200 200"),
}
PEOPLE: dict[str, dict[str, str]] = {
    "people": dict.fromkeys(("GET", "POST"), "login 403 403 403 403 403 200"),
    "person": {"GET": "login 403 403 403 403 403 200"},
    "change_role": {"POST": "login 403 403 403 403 403 302"},
    "change_teams": {"POST": "login 403 403 403 403 403 302"},
    "change_quota": {"POST": "login 403 403 403 403 403 302"},
    "change_email": {"POST": "login 403 403 403 403 403 302"},
    "sign_out_person": {"POST": "login 403 403 403 403 403 302"},
    "reset_two_factor": {"POST": "login 403 403 403 403 403 302"},
    "make_reset_link": {"POST": "login 403 403 403 403 403 200"},
    "deactivate_person": {"GET": "login 403 403 403 403 403 200", "POST": "login 403 403 403 403 403 302"},
    "reactivate_person": {"POST": "login 403 403 403 403 403 302"},
    "hand_over_files": dict.fromkeys(("GET", "POST"), "login 403 403 403 403 403 409"),  # the account is active
    "teams": {"GET": "login 403 403 403 403 403 200", "POST": "login 403 403 403 403 403 302"},
    "team": {"GET": "login 403 403 403 403 403 200"},
    "rename_team": {"POST": "login 403 403 403 403 403 302"},
    "change_members": {"POST": "login 403 403 403 403 403 302"},
    "delete_team": {"GET": "login 403 403 403 403 403 200", "POST": "login 403 403 403 403 403 302"},
    "invitations": {"GET": "login 403 403 403 403 403 200"},
    "revoke_invitation": {"POST": "login 403 403 403 403 403 302"},
    "renew_invitation": {"POST": "login 403 403 403 403 403 200"},
    "accept_invitation": PUBLIC,
    "reset_password": PUBLIC,
    # there is no mail server
    "request_password_reset": {
        **dict.fromkeys(VERBS, "405 405 405 405 405 405 405"),
        **dict.fromkeys((*SAFE, "POST"), "404 404 404 404 404 404 404"),
    },
}
# Required fields of these forms.
FORMS = {"people": "role=viewer", "change_role": "role=viewer"}
ABOUT_TEAMS = {"team", "rename_team", "change_members", "delete_team"}
WITHOUT_ARGUMENTS = {"people", "teams", "invitations", "request_password_reset"}


def form(route: str) -> str:
    """Return a valid form body for the route."""
    return f"name={uuid.uuid4()}" if route in {"teams", "rename_team"} else FORMS.get(route, "")


def arguments(route: str) -> list[Any]:
    """Return the URL arguments of a route: an active person, a team, or a new link."""
    if route in WITHOUT_ARGUMENTS:
        return []
    if route in ABOUT_TEAMS:
        return [Group.objects.create(name=str(uuid.uuid4())).pk]
    root = User.objects.get(username="root")
    if route in {"accept_invitation", "renew_invitation", "revoke_invitation"}:
        invitation, token = invite(by=root, role=Role.VIEWER)
        return [token if route == "accept_invitation" else invitation.pk]
    user = User.objects.create(username=str(uuid.uuid4()))
    return [create_reset(user, by=root)[1] if route == "reset_password" else user.pk]
