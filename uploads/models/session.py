"""Sessions with a foreign key to their user, so that all sessions of a user can be ended."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.contrib.sessions.base_session import AbstractBaseSession, BaseSessionManager
from django.db import models
from django.db.models.functions import Now

CLEANUP_BATCH_SIZE = 100


class SessionManager(BaseSessionManager["Session"]):
    def end(self, person: User, *, but: str | None = None) -> int:
        """End all sessions of this user except the one with the key `but`. Return how many ended. Safe to repeat."""
        ended, _by_model = self.filter(person=person).exclude(session_key=but or "").delete()
        return ended

    def clear_expired(self) -> None:
        """Delete a batch of expired sessions. Each new session calls this, so deletion keeps up with creation."""
        expired = self.filter(expire_date__lt=Now()).values_list("pk", flat=True)
        self.filter(pk__in=list(expired[:CLEANUP_BATCH_SIZE])).delete()


class Session(AbstractBaseSession):
    person = models.ForeignKey(User, on_delete=models.CASCADE, null=True, related_name="+")

    objects = SessionManager()  # type: ignore[misc]  # a class attribute, as all of Django's managers are

    class Meta(AbstractBaseSession.Meta):
        default_permissions = ()
