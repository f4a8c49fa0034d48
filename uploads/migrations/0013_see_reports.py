"""Managers may read what the commands reported."""

from __future__ import annotations

from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def grant_rights(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    config = apps.get_app_config("uploads")
    config.models_module = True  # type: ignore[assignment]
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    Group, Permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    found = Permission.objects.filter(content_type__app_label="uploads", codename="view_report")
    for group in Group.objects.filter(name="managers"):
        group.permissions.add(*found)


class Migration(migrations.Migration):
    dependencies = [("uploads", "0012_file_in_trouble")]

    operations = [migrations.RunPython(grant_rights, migrations.RunPython.noop)]
