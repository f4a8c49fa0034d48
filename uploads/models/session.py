"""Sessions that know whose they are, so that a person's can be ended."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.contrib.sessions.base_session import AbstractBaseSession, BaseSessionManager
from django.db import models
from django.db.models.functions import Now

CLEANUP_BATCH_SIZE = 100


class SessionManager(BaseSessionManager["Session"]):
    def end(self, person: User, *, but: str | None = None) -> int:
        """End all sessions of this person, `but` the one with this key; how many there were. Safe to repeat."""
        ended, _by_model = self.filter(person=person).exclude(session_key=but or "").delete()
        return ended

    def clear_expired(self) -> None:
        """A few of those whose time is over; whoever makes a session clears more than one away."""
        over = self.filter(expire_date__lt=Now()).values_list("pk", flat=True)
        self.filter(pk__in=list(over[:CLEANUP_BATCH_SIZE])).delete()


class Session(AbstractBaseSession):
    person = models.ForeignKey(User, on_delete=models.CASCADE, null=True, related_name="+")

    objects = SessionManager()  # type: ignore[misc]  # of the class: so are all of Django's managers

    class Meta(AbstractBaseSession.Meta):
        default_permissions = ()
