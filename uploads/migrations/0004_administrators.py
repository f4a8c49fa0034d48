"""The role of administrators: what managers can do, and the people page."""

from django.db import migrations, models

from uploads.migrations._roles import grant
from uploads.models.audit import action_choices

MANAGER = [
    "view_file", "view_folder", "view_tag", "add_file", "change_file", "delete_file", "add_folder", "change_folder",
    "add_tag", "change_tag", "delete_tag", "view_event", "view_statistic", "view_report", "view_usage",
]  # fmt: skip


class Migration(migrations.Migration):
    dependencies = [("uploads", "0003_roles")]

    operations = [
        migrations.AlterModelOptions(
            name="usage",
            options={
                "permissions": [("manage_people", "Can manage people")],
                "verbose_name": "usage",
                "verbose_name_plural": "usage",
            },
        ),
        migrations.AlterField(
            model_name="event",
            name="action",
            field=models.CharField(choices=action_choices, max_length=20, verbose_name="what"),
        ),
        grant({"administrators": [*MANAGER, "manage_people"]}),
    ]
