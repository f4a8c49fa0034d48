"""Single sign-on by OpenID Connect. It signs in to existing accounts and never creates one."""

from __future__ import annotations

import logging
import secrets
from string import ascii_lowercase, ascii_uppercase
from typing import Any

import jwt
from allauth.account.utils import get_next_redirect_url
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter, get_adapter
from allauth.socialaccount.models import SocialAccount, SocialLogin
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from uploads.accounts import throttling
from uploads.errors import Forbidden, Problem
from uploads.services import sign_in_events
from uploads.views.responses import html_errors

logger = logging.getLogger(__name__)

NONCE = "sso_nonce"
SIGNATURES = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
CLAIMS = ["iss", "sub", "aud", "exp", "iat"]  # of every ID token; OpenID Connect Core, 2
ASCII_LOWERCASE = str.maketrans(ascii_uppercase, ascii_lowercase)


class OIDCLoginError(Forbidden):
    def __init__(self) -> None:
        super().__init__(_("Single sign-on failed. Try again, or ask an administrator."))


class ProviderUnavailable(Problem):
    """The identity provider did not respond, or not as OpenID Connect requires."""

    code = "unavailable"
    status_code = 503
    retry_after = 5

    def __init__(self) -> None:
        super().__init__(_("Single sign-on isn't responding. Try again in a moment."))


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return False

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Link the identity to an account at its first sign-in; later ones match by the provider's id of the person.

        The account is the one with the e-mail address that the provider has verified. Raises OIDCLoginError without
        such an account.
        """
        if sociallogin.is_existing:
            return
        with transaction.atomic():
            user = _account_to_link(_verified_address(sociallogin), provider=sociallogin.account.provider)
            if user is not None:
                sociallogin.connect(request, user)
                sign_in_events.two_factor_changed(user, by=user, change="added", kind="single_sign_on")
        if user is None:
            sign_in_events.on_login_failed(credentials={"username": "single sign-on"})
            raise OIDCLoginError

    def on_authentication_error(self, *args: Any, exception: Exception | None = None, **kwargs: Any) -> None:
        logger.warning("single_sign_on_failed error=%s", type(exception).__name__)
        sign_in_events.on_login_failed(credentials={"username": "single sign-on"})
        if isinstance(exception, OSError):
            raise ProviderUnavailable from exception
        raise OIDCLoginError


class Provider(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    """Check more than allauth does.

    The ID token's signature is always verified, it must hold the session's nonce and come from the configured issuer,
    and the user info must have the same `sub`.
    """

    nonce = ""  # sent with the authorization request; valid for one callback

    @property
    def openid_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().openid_config
        if str(config.get("issuer", "")).rstrip("/") != settings.OIDC_ISSUER:
            raise PermissionDenied
        return config

    def get_callback_url(self, request: HttpRequest, app: Any) -> str:
        return request.build_absolute_uri(reverse("sso_callback"))

    def complete_login(self, request: HttpRequest, app: Any, token: Any, **kwargs: Any) -> SocialLogin:
        identity = self._verify_id_token(kwargs["response"].get("id_token") or "", audience=app.client_id)
        user_info = self._fetch_json(self.profile_url, Authorization=f"Bearer {token.token}")
        if not self.nonce or identity.get("nonce") != self.nonce or user_info.get("sub") != identity["sub"]:
            raise PermissionDenied
        return self.get_provider().sociallogin_from_response(request, {"userinfo": user_info, "id_token": identity})

    def _verify_id_token(self, id_token: str, *, audience: str) -> dict[str, Any]:
        keys = self._fetch_json(self.openid_config["jwks_uri"])
        try:
            key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(id_token)["kid"]].key
            issuer = self.openid_config["issuer"]
            options: Any = {"require": CLAIMS}
            return jwt.decode(id_token, key, SIGNATURES, options, audience=audience, issuer=issuer)
        except (jwt.PyJWTError, KeyError, TypeError) as error:
            raise OAuth2Error("The ID token is not valid.") from error

    def _fetch_json(self, url: str, **headers: str) -> dict[str, Any]:
        with get_adapter().get_requests_session() as session:
            response = session.get(url, headers=headers)
            response.raise_for_status()
            data = response.json()
        if not isinstance(data, dict):
            raise OAuth2Error("The provider did not send an object.")
        return data


def name() -> str:
    """Return the provider's display name, or "" without single sign-on."""
    apps = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]
    return str(apps[0]["name"]) if apps else ""


def _provider(request: HttpRequest) -> Provider:
    apps = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]
    if not apps:
        raise Http404
    return Provider(request, apps[0]["provider_id"])


@login_not_required
@never_cache
@require_safe
@html_errors
def begin(request: HttpRequest) -> HttpResponseBase:
    """Redirect to the provider. Reached by a link: the CSP's form-action allows forms to this site only."""
    provider = _provider(request)
    if request.user.is_authenticated:
        return HttpResponseRedirect(reverse("library"))
    throttling.sso_throttle().begin()
    request.session[NONCE] = nonce = secrets.token_urlsafe(16)
    allauth_provider = get_adapter(request).get_provider(request, provider.provider_id)
    allauth_provider.oauth2_adapter_class = Provider
    try:
        next_url = get_next_redirect_url(request)
        response: HttpResponseBase = allauth_provider.redirect(
            request, "login", next_url=next_url, auth_params={"nonce": nonce}
        )
    except (OSError, KeyError, ValueError) as error:
        logger.warning("single_sign_on_unavailable error=%s", type(error).__name__)
        raise ProviderUnavailable from error
    return response


@login_not_required
@never_cache
@require_safe
@html_errors
def end(request: HttpRequest) -> HttpResponseBase:
    """Handle the provider's callback.

    Raises OIDCLoginError, without a request or an audit event, unless this session started the sign-in.
    """
    provider = _provider(request)
    provider.nonce = request.session.pop(NONCE, "")
    if not provider.nonce:
        raise OIDCLoginError
    request.session.save()  # now: SessionMiddleware saves none with a 5xx response
    try:
        response: HttpResponseBase = OAuth2CallbackView.adapter_view(provider)(request)
    except (KeyError, ValueError) as error:
        logger.warning("single_sign_on_invalid error=%s", type(error).__name__)
        raise OIDCLoginError from error
    throttling.sso_throttle().succeeded()
    return response


def _verified_address(sociallogin: SocialLogin) -> str:
    """Return the address that the provider says it verified, as the provider wrote it, or "".

    Not `sociallogin.email_addresses`: allauth lower-cases those by Unicode's rules, which makes k of U+212A.
    """
    userinfo = sociallogin.account.extra_data["userinfo"]
    address = userinfo.get("email")
    return address if isinstance(address, str) and userinfo.get("email_verified") is True else ""


def _account_to_link(address: str, *, provider: str) -> User | None:
    """Return the one active account with this address, locked, if it has no identity of this provider yet.

    An account that is linked already stays with the identity it has: an address may pass to another person at the
    provider, an id does not. The lock lets only one of two concurrent first sign-ins link.
    """
    if not address:
        return None
    candidates = User.objects.filter(email__iexact=address, is_active=True).select_for_update().order_by("pk")
    users = [user for user in candidates if is_same_address(user.email, address)]
    if len(users) != 1 or SocialAccount.objects.filter(user=users[0], provider=provider).exists():
        return None
    return users[0]


def is_same_address(first: str, second: str) -> bool:
    """Return whether two e-mail addresses are equal but for the case of ASCII letters.

    Postgres' UPPER and Python's lower() also equate letters that are not the same: U+0131 and i, U+017F and s, U+212A
    and k. A look-alike domain can be registered and its address verified (as in CVE-2019-19844).
    """
    return first.translate(ASCII_LOWERCASE) == second.translate(ASCII_LOWERCASE)
