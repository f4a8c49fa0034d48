"""What browsers are told: TLS only, and what a page may load."""

from typing import Any

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from amalga.settings.base import HTTPS
from amalga.settings.env import env, url
from amalga.settings.storage import CONTENT_ORIGINS, S3_ORIGINS

SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|metrics)$"]  # asked from near by, without TLS (uploads/views/health.py)
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# No Cross-Origin-Embedder-Policy: pages show previews out of the bucket, which sends no header of ours along.
EXTRA_SECURITY_HEADERS = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}
# Where browsers tell what the policy refused; most collectors of errors have such an address.
CSP_REPORT_URI = str(env.str("CSP_REPORT_URI", default="")).strip()
if CSP_REPORT_URI:
    scheme = url("CSP_REPORT_URI", CSP_REPORT_URI).scheme
    if not CSP_REPORT_URI.isascii() or set(CSP_REPORT_URI) & set(" ;,"):
        raise ImproperlyConfigured("CSP_REPORT_URI is not usable: odd characters are written as %XX.")
    if HTTPS and scheme != "https":
        raise ImproperlyConfigured("CSP_REPORT_URI is not usable: pages that come by TLS report by https:// too.")
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
