"""A fake HTTP server for AWS credentials: container endpoint, instance metadata and STS."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.support import storage_proxies, stores

MACHINE = "/latest/meta-data/iam/security-credentials/"


@dataclass
class CredentialProvider:
    """Issues the keys of the storage of this run, with a numbered token, valid for `seconds`."""

    key: str
    secret: str
    url: str = ""
    seconds: float = 6 * 3600
    issued: int = 0
    paths: list[str] = field(default_factory=list)
    mode: str = "well"  # or: refuses, hangs

    def until(self) -> str:
        return (datetime.now(UTC) + timedelta(seconds=self.seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def respond(self, request: storage_proxies.Request) -> storage_proxies.Response | None:
        path = urllib.parse.urlsplit(request.url).path
        self.paths.append(path)
        if self.mode == "refuses":
            return storage_proxies.status(403, "AccessDenied")(request)
        if path.endswith("/api/token"):
            return storage_proxies.Response(200, {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, b"let-me-in")
        if path == MACHINE:
            return storage_proxies.Response(200, {}, b"the-role")
        return self._sts(request) if request.method == "POST" else self._json()

    def _json(self) -> storage_proxies.Response:
        key, secret, token = self._next()
        document = {"Code": "Success", "AccessKeyId": key, "SecretAccessKey": secret, "Token": token}
        return storage_proxies.Response(
            200, {"Content-Type": "application/json"}, json.dumps(document | self._end()).encode()
        )

    def _end(self) -> dict[str, str]:
        return {"Expiration": self.until(), "LastUpdated": "2026-01-01T00:00:00Z"}

    def _sts(self, request: storage_proxies.Request) -> storage_proxies.Response:
        action = urllib.parse.parse_qs(request.body.decode())["Action"][0]
        key, secret, token = self._next()
        body = (
            f"<{action}Response xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><{action}Result><Credentials>"
            f"<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>"
            f"<SessionToken>{token}</SessionToken><Expiration>{self.until()}</Expiration></Credentials>"
            f"<AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn><AssumedRoleId>A:s</AssumedRoleId>"
            f"</AssumedRoleUser></{action}Result></{action}Response>"
        )
        return storage_proxies.Response(200, {"Content-Type": "text/xml"}, body.encode())

    def _next(self) -> tuple[str, str, str]:
        self.issued += 1
        return self.key, self.secret, f"token-{self.issued}"


@contextmanager
def serve_credentials(address: stores.Address) -> Iterator[CredentialProvider]:
    provider = CredentialProvider(address.key, address.secret)
    with storage_proxies.run_storage_proxy("http://127.0.0.1:9") as server:
        server.rules["*"] = lambda request: (
            server.hang(request) if provider.mode == "hangs" else provider.respond(request)
        )
        provider.url = server.url
        yield provider
