"""Pages and JSON for what went wrong outside a view."""

from __future__ import annotations

import logging
import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.utils.translation import gettext as _
from redis.exceptions import RedisError

from amalga.database import takes_no_writes
from uploads.errors import BadInput, Forbidden, NotFound, Problem, StoreUnavailable
from uploads.views.answers import is_protocol, page, refusal

logger = logging.getLogger(__name__)


class Unavailable(StoreUnavailable):
    """The database or the cache is away; told like the store."""

    def __init__(self) -> None:
        Problem.__init__(
            self,
            _("The service is not complete right now. Nothing is lost: try again in a moment."),
        )


class CsrfFailed(Forbidden):
    code = "csrf"


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return refusal(request, BadInput(_("The request could not be understood.")))


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return refusal(request, Forbidden(_("You may not do this.")))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return refusal(request, NotFound()) if is_protocol(request) else page(404)


def server_error(request: HttpRequest) -> HttpResponse:
    """A fault of ours; or the database, the cache or the store is away, which is told as 503 wherever it shows."""
    fault = sys.exc_info()[1]
    if isinstance(fault, StoreUnavailable):
        return refusal(request, fault)
    if isinstance(fault, UnreadablePostError):
        return refusal(request, BadInput(_("The request did not arrive whole. Send it again.")))
    if isinstance(fault, OperationalError | InterfaceError) or takes_no_writes(fault):
        logger.warning("database_fault kind=%s", type(fault).__name__)
        return refusal(request, Unavailable())
    if isinstance(fault, RedisError):
        logger.warning("cache_fault kind=%s", type(fault).__name__)
        return refusal(request, Unavailable())
    return refusal(request, ServerFault()) if is_protocol(request) else page(500)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return refusal(
        request,
        CsrfFailed(_("This page is too old to be used. Reload it and try again; nothing is lost.")),
    )


class ServerFault(Problem):
    code = "server_error"

    def __init__(self) -> None:
        super().__init__(_("Something is broken on our side. Your files are untouched."))
