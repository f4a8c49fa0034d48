"""Links that open an account: invitations, and links to choose a new password."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from uploads.models.links import LinkState, PublicLink


class Invitation(PublicLink):
    """A link with which one person creates an account with a role and teams."""

    email = models.EmailField(_("email address"), blank=True)
    role = models.CharField(_("role"), max_length=20)
    teams = models.ManyToManyField(Group, related_name="+", blank=True, verbose_name=_("teams"))
    accepted_at = models.DateTimeField(_("accepted"), null=True, editable=False)
    accepted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+",
        verbose_name=_("accepted by"),
    )  # fmt: skip

    class Meta:
        verbose_name = _("invitation")
        verbose_name_plural = _("invitations")
        ordering = ["-pk"]
        default_permissions = ()
        constraints = [
            models.CheckConstraint(condition=Q(expires_at__isnull=False), name="invitation_has_expiry"),
        ]

    def __str__(self) -> str:
        return self.email or super().__str__()

    @property
    def is_used_up(self) -> bool:
        return self.accepted_at is not None

    @property
    def state(self) -> LinkState:
        """Return the state; an accepted invitation stays accepted, also after its time."""
        return LinkState.USED_UP if self.is_used_up else super().state


class PasswordReset(PublicLink):
    """A link with which a person chooses a new password, once."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, editable=False, related_name="+")

    class Meta:
        verbose_name = _("password reset link")
        verbose_name_plural = _("password reset links")
        ordering = ["-pk"]
        default_permissions = ()
        constraints = [
            models.CheckConstraint(condition=Q(expires_at__isnull=False), name="password_reset_has_expiry"),
        ]

    @property
    def is_used_up(self) -> bool:
        return self.use_count > 0
