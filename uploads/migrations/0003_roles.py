"""The roles: groups that an administrator adds people to. Without a role a person sees nothing."""

from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

VIEWER = ["view_file", "view_folder", "view_tag"]
UPLOADER = [*VIEWER, "add_file"]
MANAGER = [
    *UPLOADER, "change_file", "delete_file", "add_folder", "change_folder", "add_tag", "change_tag", "delete_tag",
    "view_event", "view_statistic", "view_report", "view_usage",
]  # fmt: skip

ROLES = {"viewers": VIEWER, "uploaders": UPLOADER, "managers": MANAGER}


def create_roles(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Create the groups, and add the permissions that they lack. Safe to repeat."""
    # Django creates permissions after the last migration, and for apps with a models module only.
    config = apps.get_app_config("uploads")
    models_module = getattr(config, "models_module", None)
    config.models_module = models_module or True  # type: ignore[assignment]
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = models_module

    Group, Permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for name, codenames in ROLES.items():
        group, _created = Group.objects.get_or_create(name=name)
        permissions = Permission.objects.filter(content_type__app_label="uploads", codename__in=codenames)
        group.permissions.add(*permissions)


class Migration(migrations.Migration):
    dependencies = [
        ("uploads", "0002_triggers"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(create_roles, migrations.RunPython.noop)]
