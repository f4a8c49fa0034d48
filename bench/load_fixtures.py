"""Create a library of ten thousand files and signed-in users: the fixtures of `bench.load_users`."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

FILES = 10_000
USERS = 40
TOKEN = "t" * 32


def create_fixtures() -> dict[str, Any]:
    subprocess.run([sys.executable, "-m", "bench.library_seed", str(FILES)], check=True, stdout=subprocess.DEVNULL)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amalga.settings")
    import django

    django.setup()
    from django.contrib.auth.models import User
    from django.core.management import call_command

    call_command("collectstatic", verbosity=0, interactive=False)
    member = User.objects.get(username="bench-member")
    users = User.objects.filter(is_superuser=False, groups__name="uploaders").order_by("pk")[:USERS]
    return {"sessions": [_session(user) for user in [member, *users]], "paths": _paths(member)}


def _session(user: Any) -> dict[str, str]:
    from django.conf import settings
    from django.test import Client

    client = Client(SERVER_NAME="localhost")
    client.force_login(user)
    client.get("/")  # writes what is only written once in a while
    names = {settings.SESSION_COOKIE_NAME: client.cookies[settings.SESSION_COOKIE_NAME].value}
    names[settings.CSRF_COOKIE_NAME] = TOKEN
    return {"cookie": "; ".join(f"{name}={value}" for name, value in names.items()), "token": TOKEN}


def _paths(member: Any) -> dict[str, list[str]]:
    """Return the paths to request by kind: files that everyone can see, the library and its open folders."""
    from uploads.models import File, Folder, Visibility

    visible = File.objects.visible_to(member).listed().filter(visibility=Visibility.TEAM, folder__access_root=None)
    links = [str(file.permanent_id) for file in visible.order_by("pk")[:500]]
    folders = Folder.objects.living().filter(access_root=None).order_by("pk").values_list("pk", flat=True)[:30]
    return {
        "minimal": ["/"],
        "list": ["/?subfolders=1"],
        "page": [f"/files/{link}/" for link in links] + [f"/folders/{pk}/" for pk in folders],
        "redirect": [f"/files/{link}/download" for link in links],
    }


if __name__ == "__main__":
    create_fixtures()
