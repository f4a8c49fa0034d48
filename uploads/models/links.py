"""Public links: what share links, file requests, invitations and password resets have in common.

A link works for everyone who knows its token, so the database holds only a digest of it. A link has no rights of its
own: each use asks again what its creator may do.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from typing import Any, Self, TypeVar

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.translation import gettext_lazy as _

from uploads.models.querysets import database_now

RANDOM_BYTES = 18  # 144 bits, 24 characters
SIGNATURE_BYTES = 6
SIGNATURE_CHARACTERS = 8
SIGNATURE_SALT = "amalga.links"
TOKEN = re.compile(r"[A-Za-z0-9_-]{32}", re.ASCII)
Link = TypeVar("Link", bound="PublicLink")


class LinkState(models.TextChoices):
    ACTIVE = "active", _("active")
    EXPIRED = "expired", _("expired")
    REVOKED = "revoked", _("revoked")
    USED_UP = "used_up", _("used up")


def new_token() -> str:
    """Return a token of 32 URL-safe characters, random ones and their signature. It is shown once, and never stored.

    None begins with a hyphen, which commands would take for an option.
    """
    while (text := secrets.token_urlsafe(RANDOM_BYTES)).startswith("-"):
        pass
    return text + _signature(text, settings.SECRET_KEY)


def is_signed(token: str) -> bool:
    """Return whether this site created the token, without a query: a link that was deleted since then has it, too.

    Tokens that were signed with a key that is no longer in SECRET_KEY_FALLBACKS have no valid signature. Such links
    work, so this decides nothing but who waits while others guess.
    """
    if not TOKEN.fullmatch(token):
        return False
    text, signature = token[:-SIGNATURE_CHARACTERS], token[-SIGNATURE_CHARACTERS:]
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return any(constant_time_compare(_signature(text, key), signature) for key in keys)


def _signature(text: str, key: str) -> str:
    digest = salted_hmac(SIGNATURE_SALT, text, secret=key, algorithm="sha256").digest()
    return base64.urlsafe_b64encode(digest[:SIGNATURE_BYTES]).decode()


def token_digest(token: str) -> bytes:
    """Return what the database holds of a token. A fast hash is enough: no one can try 2^144 tokens."""
    return hashlib.sha256(token.encode()).digest()


class PublicLinkQuerySet(models.QuerySet[Link]):
    def by_token(self, token: str) -> Link | None:
        """Return the link with this token, in any state, or None. Accepts any text."""
        if not TOKEN.fullmatch(token):
            return None
        return self.filter(token_digest=token_digest(token)).first()

    def unexpired(self) -> Self:
        """Return the links that are neither revoked nor expired, and whose creator is active."""
        not_expired = Q(expires_at__isnull=True) | Q(expires_at__gt=Now())
        return self.filter(not_expired, revoked_at__isnull=True, created_by__is_active=True)

    def revoke(self, *, by: User | None) -> int:
        """Revoke those of the links that are not revoked yet. Return how many."""
        return self.filter(revoked_at__isnull=True).update(revoked_at=Now(), revoked_by=by)

    def with_expiry(self) -> Self:
        """Add `expired` to each row, by the database's clock."""
        return self.annotate(expired=Q(expires_at__isnull=False, expires_at__lte=Now()))


class PublicLinkManager(models.Manager[Link]):
    def get_queryset(self) -> PublicLinkQuerySet[Link]:
        return super().get_queryset().with_expiry()  # type: ignore[attr-defined, no-any-return]


class PublicLink(models.Model):
    """A link that works without an account. Subclasses say what it opens, and when it is used up."""

    token_digest = models.BinaryField(unique=True, editable=False, max_length=32)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, editable=False, related_name="+", verbose_name=_("created by")
    )
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, editable=False)
    revoked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+",
        verbose_name=_("revoked by"),
    )  # fmt: skip
    last_used_at = models.DateTimeField(_("last used"), null=True, editable=False)
    use_count = models.PositiveIntegerField(_("uses"), default=0, db_default=0, editable=False)

    objects = PublicLinkManager.from_queryset(PublicLinkQuerySet)()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self._meta.verbose_name} {self.pk}"

    @property
    def state(self) -> LinkState:
        if self.revoked_at:
            return LinkState.REVOKED
        if self.is_expired:
            return LinkState.EXPIRED
        return LinkState.USED_UP if self.is_used_up else LinkState.ACTIVE

    @property
    def is_expired(self) -> bool:
        """Whether the link was expired when its row was read, by the database's clock."""
        if self.expires_at is None:
            return False
        expired: bool | None = getattr(self, "expired", None)
        return self.expires_at <= database_now() if expired is None else expired

    @property
    def is_used_up(self) -> bool:
        """Whether the link was used as often as it may be. Subclasses with a limit override this."""
        return False


def create_link(model: type[Link], **fields: Any) -> tuple[Link, str]:
    """Create a link and return it with its token, which cannot be read again."""
    token = new_token()
    link: Link = model._default_manager.create(token_digest=token_digest(token), **fields)  # type: ignore[assignment]
    return link, token


def new_link_hint(creator: User) -> str:
    """Return the sentence that says who can send another link."""
    if creator.is_active and (name := display_name(creator)):
        return str(_("Ask %(name)s for a new one.") % {"name": name})
    return str(_("Ask the person who sent it to you for a new one."))


def display_name(user: User) -> str:
    """Return a person's name for people without an account; empty if it would reveal a mail address."""
    name = user.get_full_name().strip() or user.get_username()
    return "" if "@" in name else name


def absolute_url(path: str) -> str:
    """Return the address of a path of the site, for links outside of requests: in mails, and in what commands print.

    Returns the path alone if the settings name no host.
    """
    return f"{settings.SITE_URL}{path}"


# --- links that open an account --------------------------------------------------------------------


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
