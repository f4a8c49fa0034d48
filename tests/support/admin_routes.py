"""Expected statuses of the admin's pages for tests/views/test_routes.py."""

from __future__ import annotations

# The admin, by GET: alice has files but isn't staff, clerk is staff without a role, root is a superuser.
# Routes that only allow POST are 405; disabled actions are 403 even for root.
ADMIN_USERS = ("anonymous", "alice", "clerk", "root")


def _of_model(model: str, **root: int) -> dict[str, str]:
    """Return the pages of one model: 403 for staff without a role, the given status for root."""
    return {f"admin:{model}_{page}": f"login login 403 {code}" for page, code in root.items()}


ADMIN: dict[str, str] = {
    "admin:login": "200 403 302 302",
    "admin:logout": "login 302 405 405",
    "admin:index": "login login 200 200",
    "admin:password_change": "login login 302 302",
    "admin:password_change_done": "login login 200 200",
    "admin:autocomplete": "login login 403 403",
    "admin:jsi18n": "login login 200 200",
    "admin:view_on_site": "login 404 404 404",
    "nowhere": "login 404 404 404",
    "admin:app_list": "login login 404 200",
    "admin:catch-all": "login login 404 404",
    "admin:<path:object_id>/": "login login 302 302",
    "admin:uploads_file_changelist": "login login 403 200",
    "admin:uploads_file_add": "login login 403 200",
    "admin:uploads_file_history": "login login 302 200",
    "admin:uploads_file_delete": "login login 403 200",
    "admin:uploads_file_change": "login login 403 200",
    "admin:uploads_usage_changelist": "login login 403 200",
    "admin:uploads_usage_add": "login login 403 403",
    "admin:uploads_usage_history": "login login 403 200",
    "admin:uploads_usage_delete": "login login 403 403",
    "admin:uploads_usage_change": "login login 403 200",
    "admin:auth_user_password_change": "login login 403 200",
    "admin:storage": "login login 403 200",
    "admin:uploads_event_export": "login login 405 405",
    **_of_model("uploads_folder", changelist=200, add=200, history=200, delete=403, change=200),
    "admin:uploads_folder_history": "login login 302 200",
    **_of_model("uploads_tag", changelist=200, add=200, history=200, delete=200, change=200),
    **_of_model("uploads_event", changelist=200, add=403, history=200, delete=403, change=200),
    **_of_model("uploads_report", changelist=200, add=403, history=200, delete=403, change=200),
    **_of_model("django_tasks_database_dbtaskresult", changelist=200, add=403, history=200, delete=403, change=200),
    **{
        f"admin:auth_{model}_{page}": f"login login {clerk} {root}"
        for model in ("user", "group")
        for page, clerk, root in [
            ("changelist", 403, 200), ("add", 403, 200), ("history", 403, 200), ("delete", 403, 200),
            ("change", 403, 200),
        ]
    },
}  # fmt: skip
