"""Check the services that an installation can use beside database and storage: the mail server, the malware scanner,
and the identity providers of single sign-on.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models.functions import Now
from django.utils.translation import get_language

from uploads.errors import StorageUnavailable, ValidationFailed
from uploads.models import MailState, OutgoingMail
from uploads.services import mail
from uploads.services.doctor.results import CheckResult, fail, ok, warn
from uploads.services.identity_provider import fetch_json
from uploads.services.malware_scanners import ScannerFailed, ScannerUnavailable, create_scanner

MAIL, SCANNER, SINGLE_SIGN_ON = "mail", "malware scanner", "single sign-on"  # areas, and subjects
CONNECT_SECONDS = 4.0
ADVICE = "correct EMAIL_URL, or remove EMAIL_URL and DEFAULT_FROM_EMAIL: invitations and resets then use links"
RECENT = timedelta(days=1)


def mail_checks() -> Iterable[CheckResult]:
    """Check that the mail server accepts a connection and the password, and that recent mails were sent."""
    if not mail.is_configured():
        yield ok(MAIL, "not configured: invitations and resets use links")
        return
    server = f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT}"
    try:
        mail.check_connection(timeout=CONNECT_SECONDS)
    except mail.MailServerUnavailable as problem:
        yield fail(MAIL, f"{server} cannot be used: {problem.reason}", ADVICE)
        return
    yield ok(MAIL, f"{server} accepts connections{' and the password' if settings.EMAIL_HOST_USER else ''}")


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


# --- the malware scanner ------------------------------------------------------------------------


def scanner_checks() -> Iterable[CheckResult]:
    """Let the scanner check the EICAR test file. Nothing without a scanner."""
    if not settings.MALWARE_SCANNER:
        return
    try:
        yield ok(SCANNER, create_scanner().probe())
    except ScannerFailed as error:
        yield fail(SCANNER, str(error), "update its signatures, and see docs/operate/malware.md")
    except ScannerUnavailable as error:
        yield fail(SCANNER, f"it does not answer ({error.detail})", "start it, or correct MALWARE_SCANNER")
    except StorageUnavailable as error:
        yield fail(SCANNER, f"its tags cannot be read ({error.detail})", "allow s3:GetObjectTagging")


# --- identity providers -------------------------------------------------------------------------

# OpenID Connect Discovery 1.0, 3; without them no one could sign in.
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri")


class _Unreadable(Exception):
    """The provider sent no JSON object. The message says what happened, and holds nothing that it sent."""


def provider_checks() -> Iterable[CheckResult]:
    """Check that each provider's discovery document and keys can be read, and are those of the configured issuer."""
    for app in settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]:
        yield _provider_check(app)


def _provider_check(app: dict[str, Any]) -> CheckResult:
    options = app["settings"]
    issuer, slug = str(options["server_url"]), str(options.get("slug") or "")
    variable = f"OIDC_{slug.upper()}_ISSUER" if slug else "OIDC_ISSUER"
    subject = f"{SINGLE_SIGN_ON} ({app['name']})"
    try:
        document = _read(f"{issuer}/.well-known/openid-configuration")
    except _Unreadable as error:
        is_tenant = options.get("policy", {}).get("vendor") == "entra"
        what = "the tenant ID in " if is_tenant else ""
        advice = f"correct {what}{variable}, and let this host connect to the provider by HTTPS"
        return fail(subject, f"the discovery document of {issuer} cannot be read: {error}", advice)
    actual = str(document.get("issuer", ""))[:200]
    if actual.rstrip("/") != issuer:
        return fail(
            subject, f"{issuer} says that its issuer is “{actual}”", f"set {variable} to your provider's issuer"
        )
    missing = [name for name in ENDPOINTS if not _is_usable(document.get(name), issuer)]
    if missing:
        return fail(subject, f"the provider names no usable {', '.join(missing)}", "enable OpenID Connect there")
    try:
        keys = _read(document["jwks_uri"]).get("keys")
    except _Unreadable as error:
        return fail(subject, f"the provider's keys cannot be read: {error}", "let this host connect to their address")
    if not keys:
        return fail(subject, "the provider has no keys, so no sign-in can be verified", "create one there")
    return ok(subject, f"{issuer} can be used; its client ID and secret are checked when someone signs in")


def _is_usable(url: object, issuer: str) -> bool:
    return isinstance(url, str) and url.startswith(
        "https://" if issuer.startswith("https://") else ("http://", "https://")
    )


def _read(url: str) -> dict[str, Any]:
    try:
        return fetch_json(url)
    except OSError as error:
        response = getattr(error, "response", None)  # of requests.HTTPError
        raise _Unreadable(type(error).__name__ if response is None else f"HTTP {response.status_code}") from error
    except (ValueError, RecursionError, OAuth2Error) as error:
        raise _Unreadable("not a JSON object") from error
