"""Error handlers for failures outside a view: pages and JSON."""

from __future__ import annotations

import logging
import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.utils.translation import gettext as _
from redis.exceptions import RedisError

from amalga.db import is_read_only_error
from amalga.log import LINK_PATHS
from uploads.errors import Forbidden, LinkUnknown, Problem, StorageUnavailable, UploadNotFound, ValidationFailed
from uploads.views.responses import error_page, error_response, is_api_request, public_error_page

logger = logging.getLogger(__name__)


class Unavailable(StorageUnavailable):
    """The database or the cache is unavailable. Clients get the same response as for the storage."""

    def __init__(self) -> None:
        Problem.__init__(
            self,
            _("Amalga is temporarily unavailable. Your files are safe; try again in a moment."),
        )


class CsrfFailed(Forbidden):
    code = "csrf"
    status_code = 403


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_api_request(request):
        return error_response(request, ValidationFailed(_("The request is invalid.")))
    return error_page(request, 400)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_api_request(request):
        return error_response(request, Forbidden(_("You don't have permission to do this.")))
    return error_page(request, 403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path_info.startswith(LINK_PATHS) and not is_api_request(request):
        return public_error_page(LinkUnknown())
    return error_response(request, UploadNotFound()) if is_api_request(request) else error_page(request, 404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Return 503 if the database, the cache or the storage is unavailable, otherwise 500."""
    error = sys.exc_info()[1]
    if isinstance(error, StorageUnavailable):
        return error_response(request, error)
    if isinstance(error, UnreadablePostError):
        return error_response(request, ValidationFailed(_("The request was incomplete. Send it again.")))
    if isinstance(error, OperationalError | InterfaceError) or is_read_only_error(error):
        logger.warning("database_error error=%s", type(error).__name__)
        return error_response(request, Unavailable())
    if isinstance(error, RedisError):
        logger.warning("cache_error error=%s", type(error).__name__)
        return error_response(request, Unavailable())
    return error_response(request, ServerFault()) if is_api_request(request) else error_page(request, 500)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    problem = CsrfFailed(_("This page has expired. Reload it and try again."))
    if is_api_request(request) or request.path_info.startswith(LINK_PATHS):
        return error_response(request, problem)
    return error_page(request, problem.status_code, problem=problem, template="403_csrf.html")


class ServerFault(Problem):
    code = "server_error"
    status_code = 500

    def __init__(self) -> None:
        super().__init__(_("Something went wrong on our end. Your files are safe."))
