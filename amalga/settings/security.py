"""Security headers: TLS only, and the content security policy."""

from typing import Any

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from amalga.settings.base import HTTPS
from amalga.settings.env import string, url
from amalga.settings.storage import CONTENT_ORIGINS, S3_ORIGINS

SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [
    r"^(healthz|readyz|metrics)$"
]  # requested inside the network, without TLS (uploads/views/health.py)
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# No Cross-Origin-Embedder-Policy: pages show previews from the bucket, which does not send our headers.
EXTRA_SECURITY_HEADERS = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}
# Where browsers report violations of the policy; most error trackers have such a URL.
CSP_REPORT_URI = string("CSP_REPORT_URI")
if CSP_REPORT_URI:
    scheme = url("CSP_REPORT_URI", CSP_REPORT_URI).scheme
    if not CSP_REPORT_URI.isascii() or set(CSP_REPORT_URI) & set(" ;,"):
        raise ImproperlyConfigured("CSP_REPORT_URI must be a URL, with special characters as %XX.")
    if HTTPS and scheme != "https":
        raise ImproperlyConfigured("CSP_REPORT_URI must be an https:// URL.")
CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:", *CONTENT_ORIGINS],
        "media-src": [SELF, *CONTENT_ORIGINS],
        "frame-src": [SELF, *CONTENT_ORIGINS],
        "font-src": [SELF],
        "connect-src": [SELF, *S3_ORIGINS],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        **({"report-uri": CSP_REPORT_URI} if CSP_REPORT_URI else {}),
    }
}
