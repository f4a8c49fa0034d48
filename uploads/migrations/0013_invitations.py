"""Invitations, and links to choose a new password."""

from typing import Any

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models.functions import Now

USER = settings.AUTH_USER_MODEL


def link_fields() -> list[tuple[str, Any]]:
    """Return the fields of PublicLink."""
    return [
        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
        ("token_digest", models.BinaryField(editable=False, max_length=32, unique=True)),
        ("created_at", models.DateTimeField(db_default=Now(), editable=False, verbose_name="created")),
        ("expires_at", models.DateTimeField(blank=True, null=True, verbose_name="expires")),
        ("revoked_at", models.DateTimeField(editable=False, null=True, verbose_name="revoked")),
        ("last_used_at", models.DateTimeField(editable=False, null=True, verbose_name="last used")),
        ("use_count", models.PositiveIntegerField(db_default=0, default=0, editable=False, verbose_name="uses")),
        (
            "created_by",
            models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to=USER,
                verbose_name="created by",
            ),
        ),
        (
            "revoked_by",
            models.ForeignKey(
                editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to=USER,
                verbose_name="revoked by",
            ),
        ),
    ]  # fmt: skip


class Migration(migrations.Migration):
    dependencies = [
        ("uploads", "0012_share_link_expiry"),
        ("auth", "0012_alter_user_first_name_max_length"),
        migrations.swappable_dependency(USER),
    ]

    operations = [
        migrations.CreateModel(
            name="Invitation",
            fields=[
                *link_fields(),
                ("email", models.EmailField(blank=True, max_length=254, verbose_name="email address")),
                ("role", models.CharField(max_length=20, verbose_name="role")),
                ("accepted_at", models.DateTimeField(editable=False, null=True, verbose_name="accepted")),
                (
                    "accepted_by",
                    models.ForeignKey(
                        editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+",
                        to=USER, verbose_name="accepted by",
                    ),
                ),
                (
                    "teams",
                    models.ManyToManyField(blank=True, related_name="+", to="auth.group", verbose_name="teams"),
                ),
            ],
            options={
                "verbose_name": "invitation",
                "verbose_name_plural": "invitations",
                "ordering": ["-pk"],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="PasswordReset",
            fields=[
                *link_fields(),
                (
                    "user",
                    models.ForeignKey(
                        editable=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to=USER
                    ),
                ),
            ],
            options={
                "verbose_name": "password reset link",
                "verbose_name_plural": "password reset links",
                "ordering": ["-pk"],
                "default_permissions": (),
            },
        ),
        migrations.AddConstraint(
            model_name="invitation",
            constraint=models.CheckConstraint(
                condition=models.Q(("expires_at__isnull", False)), name="invitation_has_expiry"
            ),
        ),
        migrations.AddConstraint(
            model_name="passwordreset",
            constraint=models.CheckConstraint(
                condition=models.Q(("expires_at__isnull", False)), name="password_reset_has_expiry"
            ),
        ),
    ]  # fmt: skip
