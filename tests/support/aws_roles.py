"""A storage proxy that enforces the IAM policies of the template.

with acting_as("WebRole", bucket, settings, policies) as proxy: …   # requests come from a task with that role
proxy.denied                                               # the denied actions
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, unquote, urlsplit

from pytest_django import Settings

from tests.support import storage_proxies, stores
from tests.support.aws_policies import BUCKET, Policies, PolicyRequest

# S3 subresource: the part of the IAM action that is named after it
SETTINGS = {
    "publicAccessBlock": "BucketPublicAccessBlock", "ownershipControls": "BucketOwnershipControls",
    "policy": "BucketPolicy", "encryption": "EncryptionConfiguration", "versioning": "BucketVersioning",
    "lifecycle": "LifecycleConfiguration", "cors": "BucketCORS",
}  # fmt: skip
OF_OBJECTS = {
    "get": "GetObject", "head": "GetObject", "put": "PutObject", "delete": "DeleteObject", "post": "PutObject",
    "part": "PutObject", "create": "PutObject", "complete": "PutObject", "list": "ListMultipartUploadParts",
    "abort": "AbortMultipartUpload", "deletes": "DeleteObject",
}  # fmt: skip
FORBIDDEN = storage_proxies.status(403, "AccessDenied")


class Guard:
    """A rule for a storage proxy: forwards permitted requests and denies all others."""

    def __init__(self, policies: Policies, role: str) -> None:
        self.policies, self.role = policies, role
        self.denied: list[str] = []
        self.allowed: set[str] = set()

    def __call__(self, request: storage_proxies.Request) -> storage_proxies.Response | None:
        if request.method == "OPTIONS":
            return request.forward()
        actions = list(requested_actions(request, self.role))
        refused = [
            f"{action.action} {action.resource.removeprefix(BUCKET)}" for action in actions if not self._may(action)
        ]
        self.denied += refused
        self.allowed |= {action.action for action in actions} if not refused else set()
        if refused:
            return FORBIDDEN(request)
        response = request.forward()
        hidden = response.status == 404 and request.method in {"GET", "HEAD"}
        return (
            FORBIDDEN(request)
            if hidden and not self._may(PolicyRequest("s3:ListBucket", BUCKET, self.role))
            else response
        )

    def _may(self, action: PolicyRequest) -> bool:
        return self.policies.allows(action)


def requested_actions(request: storage_proxies.Request, role: str) -> Iterator[PolicyRequest]:
    """Yield what IAM authorizes for a request, from a task in our network, or from a browser with a presigned URL."""
    parts = urlsplit(request.url)
    key, query = unquote(parts.path).lstrip("/").partition("/")[2], parse_qs(parts.query, keep_blank_values=True)
    signed = "X-Amz-Signature" in query
    context = {"aws:SecureTransport": "true", "s3:authType": "REST-QUERY-STRING" if signed else "REST-HEADER"}
    if not request.is_signed_url:
        context["aws:SourceVpce"] = "storeendpoint"
    setting = next((SETTINGS[name] for name in query if name in SETTINGS), None)
    if setting:
        yield PolicyRequest(f"s3:{request.method.title()}{setting}", BUCKET, role, context=context)
    elif request.operation in {"listing", "ids"} or not key:
        action = "ListBucketMultipartUploads" if request.operation == "ids" else "ListBucket"
        if request.operation == "deletes":
            for element in request.body.decode().split("<Key>")[1:]:
                yield PolicyRequest("s3:DeleteObject", f"{BUCKET}/{element.partition('<')[0]}", role, context=context)
            return
        yield PolicyRequest(f"s3:{action}", BUCKET, role, context=context)
    else:
        yield PolicyRequest(f"s3:{OF_OBJECTS[request.operation]}", f"{BUCKET}/{key}", role, context=context)
        source = {name.lower(): value for name, value in request.headers.items()}.get("x-amz-copy-source")
        if source:
            yield PolicyRequest("s3:GetObject", f"{BUCKET}/{unquote(source).lstrip('/').partition('/')[2]}", role)


@contextmanager
def acting_as(role: str, bucket: stores.Bucket, settings: Settings, policies: Policies) -> Iterator[Guard]:
    guard = Guard(policies, role)
    with storage_proxies.proxy_of_app(settings, bucket) as proxy:
        proxy.rules["*"] = guard
        yield guard
