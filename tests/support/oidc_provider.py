"""A fake OpenID Connect provider over real HTTP, in a thread of the tests."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from django.test import Client

from tests.support.http_servers import serve_in_thread

CLIENT, SECRET = "amalga", "shared by both"
KEY_ID = "2026-11"


@dataclass
class Identity:
    """The responses of the provider; tests change them to forge claims."""

    issuer: str = ""
    callback_issuer: str | None = None
    person: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)  # in the ID token only
    userinfo: list[Any] = field(default_factory=list)  # replaces `person` in the userinfo response
    signing_key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    published_key: rsa.RSAPrivateKey | None = None
    no_id_token: bool = False
    away: set[str] = field(default_factory=set)  # paths that return 500
    extra_response: dict[str, str] = field(default_factory=dict)  # parameters of the callback
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    queries: list[str] = field(default_factory=list)

    def discovery(self) -> dict[str, Any]:
        places = {f"{name}_endpoint": f"{self.issuer}/{name}" for name in ("authorization", "token", "userinfo")}
        return {"issuer": self.callback_issuer or self.issuer, "jwks_uri": f"{self.issuer}/keys", **places}

    def keys(self) -> dict[str, Any]:
        public = (self.published_key or self.signing_key).public_key()
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(public))
        return {"keys": [{**key, "kid": KEY_ID, "use": "sig", "alg": "RS256"}]}

    def authorize(self, query: dict[str, str]) -> str:
        """Return the redirect to the site with a code, as after consent."""
        assert query["client_id"] == CLIENT
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_hex(8)
        self.codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state'], **self.extra_response})}"

    def token(self, sent: dict[str, str]) -> dict[str, Any]:
        query = self.codes.pop(sent["code"])  # a code works once
        challenge = base64.urlsafe_b64encode(hashlib.sha256(sent["code_verifier"].encode()).digest()).rstrip(b"=")
        assert query["code_challenge"] == challenge.decode()
        assert (sent["client_id"], sent["client_secret"]) == (CLIENT, SECRET)
        assert sent["redirect_uri"] == query["redirect_uri"]
        now = int(time.time())
        facts = {"iss": self.issuer, "aud": CLIENT, "sub": self.person["sub"], "iat": now, "exp": now + 60}
        claims = {**facts, "nonce": query["nonce"], **self.claims}
        id_token = jwt.encode(claims, self.signing_key, algorithm="RS256", headers={"kid": KEY_ID})
        payload = {"access_token": secrets.token_hex(8), "token_type": "Bearer", "expires_in": 60}
        return payload if self.no_id_token else {**payload, "id_token": id_token}


def _handler(identity: Identity) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Log nothing."""

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if parts.path == "/authorization":
                return self._redirect(identity.authorize(query))
            endpoints: dict[str, Callable[[], Any]] = {
                "/.well-known/openid-configuration": identity.discovery,
                "/keys": identity.keys,
                "/userinfo": lambda: identity.userinfo[0] if identity.userinfo else identity.person,
            }
            return self._respond(parts.path, endpoints[parts.path])

        def do_POST(self) -> None:
            sent = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self._respond("/token", lambda: identity.token({name: values[0] for name, values in sent.items()}))

        def _respond(self, path: str, create: Callable[[], Any]) -> None:
            identity.queries.append(path)
            body = json.dumps({} if path in identity.away else create()).encode()
            self.send_response(500 if path in identity.away else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _redirect(self, location: str) -> None:
            self.send_response(302)
            self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler


@contextmanager
def providing() -> Iterator[Identity]:
    identity = Identity()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(identity))
    identity.issuer = f"http://127.0.0.1:{server.server_port}"
    with serve_in_thread(server):
        yield identity


def app(provider: Identity, slug: str = "", name: str = "Example", **policy: Any) -> dict[str, Any]:
    """Return the settings of one provider in the format of amalga/settings/single_sign_on.py."""
    settings = {"server_url": provider.issuer, "oauth_pkce_enabled": True, "slug": slug, "policy": policy}
    return {
        "provider_id": f"sso-{slug or 1}",
        "name": name,
        "client_id": CLIENT,
        "secret": SECRET,
        "settings": settings,
    }


def begin(client: Client, path: str = "/accounts/sso/", **more: str) -> str:
    """Start a sign-in, and return the address at the provider."""
    response: Any = client.get(path, more)
    assert response.status_code == 302, response.content.decode()
    return str(response.headers["Location"])


def sign_in(client: Client, path: str = "/accounts/sso/", **more: str) -> Any:
    """Sign in through the provider, and return the response to the callback."""
    callback = urlsplit(agree(begin(client, path, **more)))
    return client.get(f"{callback.path}?{callback.query}")


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def agree(url: str) -> str:
    """Act as a browser at the provider, where the user is signed in; return the address of the redirect."""
    try:
        urllib.request.build_opener(_Stay, urllib.request.ProxyHandler({})).open(url, timeout=5)
    except HTTPError as error:
        return str(error.headers["Location"])
    raise AssertionError("The provider led nowhere.")
