"""Favorites and saved searches."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("uploads", "0017_natural_names"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Favorite",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("file", models.UUIDField(null=True)),
                (
                    "folder",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="uploads.folder",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="favorites",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "default_permissions": (),
                "indexes": [
                    models.Index(condition=models.Q(("file__isnull", False)), fields=["file"], name="favorite_by_file"),
                    models.Index(
                        condition=models.Q(("folder__isnull", False)), fields=["folder"], name="favorite_by_folder"
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("file__isnull", False)),
                        fields=("user", "file"),
                        name="favorite_file_unique",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("folder__isnull", False)),
                        fields=("user", "folder"),
                        name="favorite_folder_unique",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("file__isnull", False), ("folder__isnull", True)),
                            models.Q(("file__isnull", True), ("folder__isnull", False)),
                            _connector="OR",
                        ),
                        name="favorite_one_target",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="SavedSearch",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100, verbose_name="name")),
                ("query", models.CharField(max_length=4000)),
                (
                    "folder",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="uploads.folder"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="saved_searches",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["name", "id"],
                "default_permissions": (),
                "constraints": [models.UniqueConstraint(fields=("user", "name"), name="saved_search_name_unique")],
            },
        ),
    ]
