"""Health checks and metrics for load balancers, which use no login, an IP address as host, and mostly no TLS."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse

from amalga import __version__
from amalga.metrics import CONTENT_TYPE, exposition
from uploads.services.health import readiness
from uploads.services.metrics import gauges
from uploads.views.responses import RETRY_SECONDS, no_store


def healthz(request: HttpRequest) -> HttpResponse:
    """Report that this process is alive. It checks nothing else: restarting does not repair a database outage."""
    return HttpResponse("ok\n", content_type="text/plain; charset=utf-8")


def readyz(request: HttpRequest) -> HttpResponse:
    """Report whether this process can serve requests: 200 or 503. With METRICS_TOKEN, it also names the version."""
    result = readiness()
    response = JsonResponse(
        {
            "status": result.status,
            "database": result.database,
            "storage": result.storage,
            **({"version": __version__} if _has_token(request) else {}),
        }
    )
    if not result.is_ready:
        response.status_code = 503
        response["Retry-After"] = str(RETRY_SECONDS)
    return response


def metrics(request: HttpRequest) -> HttpResponse:
    """Return metrics for Prometheus, which sends METRICS_TOKEN. Without that setting this is a 404."""
    if not settings.METRICS_TOKEN:
        return HttpResponse("not found\n", status=404, content_type="text/plain; charset=utf-8")
    if not _has_token(request):
        response = HttpResponse("unauthorized\n", status=401, content_type="text/plain; charset=utf-8")
        response["WWW-Authenticate"] = 'Bearer realm="metrics"'
        return response
    return HttpResponse(exposition(gauges(), folder=settings.METRICS_FOLDER), content_type=CONTENT_TYPE)


def _has_token(request: HttpRequest) -> bool:
    expected = f"Bearer {settings.METRICS_TOKEN}"
    header = request.META.get("HTTP_AUTHORIZATION", "")
    return bool(settings.METRICS_TOKEN) and hmac.compare_digest(header.encode(), expected.encode())


PROBES: dict[str, Callable[[HttpRequest], HttpResponse]] = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}


def probe(request: HttpRequest) -> HttpResponse | None:
    """Return the response to a probe, or None for every other request."""
    view = PROBES.get(request.path_info)
    if view is None:
        return None
    return no_store(view(request) if request.method in {"GET", "HEAD"} else HttpResponseNotAllowed(["GET", "HEAD"]))
