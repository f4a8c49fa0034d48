"""Mail: `enqueue` in a transaction, and the worker sends it. Nothing happens where no mail server is configured."""

from uploads.services.mail.outgoing import enqueue, is_configured, requeue_lost_mails, send_mails, send_now
from uploads.services.mail.smtp import (
    MailDeferred,
    MailRefused,
    MailServerUnavailable,
    OutcomeUnknown,
    check_connection,
)
from uploads.site_url import absolute_url

__all__ = [
    "MailDeferred",
    "MailRefused",
    "MailServerUnavailable",
    "OutcomeUnknown",
    "absolute_url",
    "check_connection",
    "enqueue",
    "is_configured",
    "requeue_lost_mails",
    "send_mails",
    "send_now",
]
