"""Check the mail server, and send a test message."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models.functions import Now
from django.utils.translation import get_language

from uploads.errors import ValidationFailed
from uploads.models import MailState, OutgoingMail
from uploads.services import mail
from uploads.services.doctor.results import CheckResult, fail, ok, warn

AREA = SUBJECT = "mail"
CONNECT_SECONDS = 4.0
ADVICE = "correct EMAIL_URL, or remove EMAIL_URL and DEFAULT_FROM_EMAIL: invitations and resets then use links"
RECENT = timedelta(days=1)


def mail_checks() -> Iterable[CheckResult]:
    """Check that the mail server accepts a connection and the password, and that recent mails were sent."""
    if not mail.is_configured():
        yield ok(SUBJECT, "not configured: invitations and resets use links")
        return
    server = f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT}"
    try:
        mail.check_connection(timeout=CONNECT_SECONDS)
    except mail.MailServerUnavailable as problem:
        yield fail(SUBJECT, f"{server} cannot be used: {problem.reason}", ADVICE)
        return
    yield ok(SUBJECT, f"{server} accepts connections{' and the password' if settings.EMAIL_HOST_USER else ''}")


def outgoing_checks() -> Iterable[CheckResult]:
    """Check for mails of the last day that were not sent. Needs the database."""
    failed = OutgoingMail.objects.exclude(state__in=(MailState.WAITING, MailState.SENDING, MailState.SENT))
    count = failed.filter(changed_at__gt=Now() - RECENT).count()
    if count:
        yield warn("outgoing mail", f"{count} mails of the last day were not sent", "search the log for mail_failed")
    else:
        yield ok("outgoing mail", "no mail of the last day failed")


def send_test_mail(address: str) -> CheckResult:
    """Send a test message at once, and return how that went. Raises ValidationFailed for an invalid address."""
    try:
        validate_email(address)
    except ValidationError:
        raise ValidationFailed("--send-test-mail must be an e-mail address.") from None
    if not mail.is_configured():
        return fail("test mail", "mail is not configured", "set EMAIL_URL and DEFAULT_FROM_EMAIL")
    try:
        mail.send_now("test", to=address, language=get_language() or settings.LANGUAGE_CODE, context={})
    except mail.MailRefused as refusal:
        reason = f"the server refused it: {refusal.reason}"
        return fail("test mail", reason, "check the address, and whether the server allows DEFAULT_FROM_EMAIL")
    except mail.MailServerUnavailable as problem:
        return fail("test mail", f"the server accepted no mail: {problem.reason}", ADVICE)
    except mail.OutcomeUnknown:
        return warn("test mail", "the server did not say whether it accepted the mail", "check the mailbox")
    return ok("test mail", f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT} accepted it")
