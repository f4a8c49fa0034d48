"""Add permissions to the groups that roles are. Shared by the migrations that extend roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def grant(roles: Mapping[str, Sequence[str]]) -> migrations.RunPython:
    """Return the operation that adds permissions of this app, by codename, to groups, and creates groups that lack.

    Put it after the operations that declare the permissions.
    """

    def add(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
        # Django creates permissions after the last migration, and for apps with a models module only.
        config = apps.get_app_config("uploads")
        models_module = getattr(config, "models_module", None)
        config.models_module = models_module or True  # type: ignore[assignment]
        create_permissions(config, apps=apps, verbosity=0)
        config.models_module = models_module
        Group, Permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
        for name, codenames in roles.items():
            group, _created = Group.objects.get_or_create(name=name)
            permissions = Permission.objects.filter(content_type__app_label="uploads", codename__in=codenames)
            group.permissions.add(*permissions)

    return migrations.RunPython(add, migrations.RunPython.noop)
