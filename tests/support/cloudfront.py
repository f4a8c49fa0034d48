"""A fake CloudFront in front of a private bucket: a TLS host that verifies signed URLs with a canned policy by a group
of public keys, requests objects with its own credentials (origin access control), and caches the responses that
shared caches may store.

Written from the developer guide, "Create a signed URL using a canned policy", not from the signer under test.
"""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.support.certificate_authority import CertificateAuthority
from tests.support.http_servers import serve_in_thread
from tests.support.storage_proxies import Request, Response, StorageProxy
from tests.support.stores import Bucket

OWN = {"Expires", "Signature", "Key-Pair-Id"}
# The only query parameters that the cache policy in deploy/aws/amalga.yaml forwards to the storage.
OVERRIDES = {
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
}
PASSED_ON = ("Range", "If-None-Match", "If-Modified-Since")
DENIED = Response(403, {"Content-Type": "text/xml"}, b"<Error><Code>AccessDenied</Code></Error>")


class Signer:
    """A key pair: the public key for the key group, the private key for the app's variables."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.public = self.private.public_key()
        form = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        self.pem = self.private.private_bytes(serialization.Encoding.PEM, *form).decode()


class Edge(StorageProxy):
    def __init__(self, bucket: Bucket, authority: CertificateAuthority, *signers: Signer, host: str) -> None:
        super().__init__(bucket.address.endpoint)
        server = authority.server("localhost")
        self.server.socket.listen(128)
        self.server.socket = server.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.domain = f"{host}:{self.server.server_address[1]}"
        self.address = bucket.address
        self.group = {signer.key_id: signer.public for signer in signers}
        self.cookies: list[str] = []  # sent by browsers
        self.cache: dict[str, Response] = {}
        self.ahead = 0  # seconds by which the clock is ahead
        self.headers: dict[str, str] = {}  # added to every response, like a response headers policy

    def variables(self, signer: Signer) -> dict[str, str]:
        """Return the environment variables of an app that delivers through this edge."""
        return {
            "CLOUDFRONT_DOMAIN": self.domain,
            "CLOUDFRONT_KEY_ID": signer.key_id,
            "CLOUDFRONT_PRIVATE_KEY": signer.pem,
        }

    def respond(self, request: Request) -> Response | None:
        self.seen.append(request.operation)
        self.cookies += [value for name, value in request.headers.items() if name.lower() == "cookie"]
        at = urlsplit(request.url)
        if request.method not in {"GET", "HEAD"} or not self.is_signed(at.path, at.query):
            return DENIED
        overrides = [(name, value) for name, value in parse_qsl(at.query) if name in OVERRIDES]
        plain = f"{at.path}?{urlencode(overrides, quote_via=quote)}"
        response = self.cache.get(plain) or self._fetch_from_storage(request, plain)
        cache_control = response.headers.get("Cache-Control", "")
        if response.status == 200 and "private" not in cache_control and "no-store" not in cache_control:
            self.cache[plain] = response
        return replace(response, headers={**response.headers, **self.headers})

    def is_signed(self, path: str, query: str) -> bool:
        parts = query.split("&")
        own = dict(part.split("=", 1) for part in parts if part.split("=")[0] in OWN)
        own_query = "&".join(part for part in parts if part.split("=")[0] not in OWN)
        resource = f"https://{self.domain}{path}{'?' if own_query else ''}{own_query}"
        key = self.group.get(own.get("Key-Pair-Id", ""))
        until = own.get("Expires", "")
        if key is None or not until.isdigit() or int(until) <= time.time() + self.ahead:
            return False
        policy = (
            f'{{"Statement":[{{"Resource":"{resource}","Condition":{{"DateLessThan":{{"AWS:EpochTime":{until}}}}}}}]}}'
        )
        signature = b64decode(own.get("Signature", "").translate(str.maketrans("-_~", "+=/")))
        try:
            key.verify(signature, policy.encode(), padding.PKCS1v15(), hashes.SHA1())  # noqa: S303  # CloudFront's
        except InvalidSignature:
            return False
        return True

    def _fetch_from_storage(self, request: Request, plain: str) -> Response:
        url = f"{self.target}/{self.address.bucket}{plain}"
        passed = {name: value for name, value in request.headers.items() if name in PASSED_ON}
        ours = AWSRequest(request.method, url, headers=passed)
        who = Credentials(self.address.key, self.address.secret)
        S3SigV4Auth(who, "s3", self.address.region).add_auth(ours)
        return replace(request, url=url, headers=dict(ours.headers.items()), body=b"").forward()


@contextmanager
def run_cloudfront(
    bucket: Bucket, authority: CertificateAuthority, *signers: Signer, host: str = "localhost"
) -> Iterator[Edge]:
    edge = Edge(bucket, authority, *signers, host=host)
    with serve_in_thread(edge.server):
        yield edge
