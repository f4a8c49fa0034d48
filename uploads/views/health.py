"""What balancers ask: they come without a login, by our address instead of our name, and mostly without TLS."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse

from amalga.metrics import exposition
from uploads.services.health import readiness
from uploads.services.metrics import gauges
from uploads.views.responses import RETRY_SECONDS, no_store


def healthz(request: HttpRequest) -> HttpResponse:
    """This process answers. It asks nobody else: a database that is away is no reason to replace us."""
    return HttpResponse("ok\n", content_type="text/plain; charset=utf-8")


def readyz(request: HttpRequest) -> HttpResponse:
    """Whether people should be sent here."""
    now = readiness()
    answer = JsonResponse({"status": now.status, "database": now.database, "store": now.store})
    if not now.is_ready:
        answer.status_code = 503
        answer["Retry-After"] = str(RETRY_SECONDS)
    return answer


def metrics(request: HttpRequest) -> HttpResponse:
    """For Prometheus, which knows the token. Without one, there is nothing here."""
    if not settings.METRICS_TOKEN:
        return HttpResponse("not found\n", status=404, content_type="text/plain; charset=utf-8")
    expected = f"Bearer {settings.METRICS_TOKEN}"
    if not hmac.compare_digest(request.META.get("HTTP_AUTHORIZATION", "").encode(), expected.encode()):
        answer = HttpResponse("unauthorized\n", status=401, content_type="text/plain; charset=utf-8")
        answer["WWW-Authenticate"] = 'Bearer realm="metrics"'
        return answer
    return HttpResponse(
        exposition.exposition(gauges(), folder=settings.METRICS_FOLDER), content_type=exposition.CONTENT_TYPE
    )


PROBES: dict[str, Callable[[HttpRequest], HttpResponse]] = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}


def probe(request: HttpRequest) -> HttpResponse | None:
    """The answer to a probe; None for every other request."""
    view = PROBES.get(request.path_info)
    if view is None:
        return None
    return no_store(view(request) if request.method in {"GET", "HEAD"} else HttpResponseNotAllowed(["GET", "HEAD"]))
