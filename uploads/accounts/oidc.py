"""Single sign-on by OpenID Connect: the protocol. uploads/accounts/identities.py decides who gets in."""

from __future__ import annotations

import logging
import secrets
import time
from typing import Any

import jwt
from allauth.account.decorators import reauthentication_required
from allauth.account.utils import get_next_redirect_url
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter, get_adapter
from allauth.socialaccount.models import SocialAccount, SocialLogin
from allauth.socialaccount.providers.base import AuthProcess
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from uploads.accounts import identities, throttling
from uploads.accounts.claims import Claims, Policy
from uploads.errors import Forbidden, Problem
from uploads.services import sign_in_events
from uploads.services.identity_provider import fetch_json
from uploads.views.responses import html_errors, request_user

logger = logging.getLogger(__name__)

STARTED = "sso_started"  # in the session: [provider, nonce] of the sign-in that this browser started
INVITED = "sso_invited"  # in the session: [user, until when]; whose account was created here by an invitation
CONNECTING = "sso_connecting"  # in the session: until when a signed-in user may link an identity
SIGNATURES = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
CLAIMS = ["iss", "sub", "aud", "exp", "iat"]  # of every ID token; OpenID Connect Core, 2


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
        """Link the identity at its first sign-in, and apply the groups that the provider sent at each.

        Later sign-ins match by the provider's ID of the person. Raises OIDCLoginError without an account.
        """
        try:
            with transaction.atomic():
                if sociallogin.state.get("process") == AuthProcess.CONNECT:
                    _check_connection(request, sociallogin)
                    return
                if not sociallogin.is_existing and not _link_invited(request, sociallogin):
                    identities.link_or_create(request, sociallogin, sociallogin.claims)
                if sociallogin.user.is_active:
                    identities.apply_groups(sociallogin.user, sociallogin.account, sociallogin.claims)
        except identities.IdentityRefused as error:
            logger.warning("single_sign_on_refused reason=%s", error.reason)
            sign_in_events.on_login_failed(credentials={"username": "single sign-on"})
            raise OIDCLoginError from error

    def on_authentication_error(self, *args: Any, exception: Exception | None = None, **kwargs: Any) -> None:
        logger.warning("single_sign_on_failed error=%s", type(exception).__name__)
        sign_in_events.on_login_failed(credentials={"username": "single sign-on"})
        if isinstance(exception, OSError):
            raise ProviderUnavailable from exception
        raise OIDCLoginError

    def get_connect_redirect_url(self, request: HttpRequest, socialaccount: SocialAccount) -> str:
        return reverse("mfa_index")


def expect_identity(request: HttpRequest, user: User) -> None:
    """Link the identity with which this browser signs in next to an account without a password: an invited person's."""
    request.session[INVITED] = [user.pk, time.time() + settings.ACCOUNT_LOGIN_TIMEOUT]


def _link_invited(request: HttpRequest, login: SocialLogin) -> bool:
    user_id, until = request.session.pop(INVITED, (0, 0))
    return until > time.time() and identities.link_new_account(request, login, user_id)


def _check_connection(request: HttpRequest, login: SocialLogin) -> None:
    """Raise IdentityRefused if the signed-in user has another identity of this provider."""
    others = SocialAccount.objects.filter(user=request_user(request), provider=login.account.provider)
    if others.exclude(uid=login.account.uid).exists():
        raise identities.IdentityRefused("linked_already")


class Provider(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    """Check more than allauth does.

    The ID token's signature is always verified, it must hold the session's nonce and come from the configured issuer,
    and the user info must have the same `sub`.
    """

    nonce = ""  # sent with the authorization request; valid for one callback

    @property
    def issuer(self) -> str:
        return str(self.get_provider().app.settings["server_url"])

    @property
    def openid_config(self) -> dict[str, Any]:
        if not hasattr(self, "_openid_config"):
            self._openid_config = fetch_json(self.get_provider().server_url)
        config: dict[str, Any] = self._openid_config
        if str(config.get("issuer", "")).rstrip("/") != self.issuer:
            raise PermissionDenied
        return config

    def get_callback_url(self, request: HttpRequest, app: Any) -> str:
        """Return an address for each provider: one provider cannot answer in the name of another (RFC 9700, 4.4)."""
        slug = app.settings.get("slug")
        return request.build_absolute_uri(reverse("sso_callback", args=[slug] if slug else []))

    def complete_login(self, request: HttpRequest, app: Any, token: Any, **kwargs: Any) -> SocialLogin:
        identity = self._verify_id_token(kwargs["response"].get("id_token") or "", audience=app.client_id)
        user_info = fetch_json(self.profile_url, Authorization=f"Bearer {token.token}")
        if not self.nonce or identity.get("nonce") != self.nonce or user_info.get("sub") != identity["sub"]:
            raise PermissionDenied
        claims = Claims(identity, user_info, Policy.of(app))
        login = self.get_provider().sociallogin_from_response(request, {"userinfo": {"sub": claims.subject}})
        login.claims = claims
        known = SocialAccount.objects.filter(provider=login.account.provider, uid=login.account.uid).first()
        granted = known.extra_data.get("granted", {}) if known else {}
        login.account.extra_data = {"email": claims.address, "name": claims.text("name"), "granted": granted}
        return login

    def _verify_id_token(self, id_token: str, *, audience: str) -> dict[str, Any]:
        keys = fetch_json(self.openid_config["jwks_uri"])
        try:
            key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(id_token)["kid"]].key
            issuer = self.openid_config["issuer"]
            options: Any = {"require": CLAIMS}
            claims: dict[str, Any] = jwt.decode(id_token, key, SIGNATURES, options, audience=audience, issuer=issuer)
            _require_authorized_party(claims, audience)
            return claims
        except (jwt.PyJWTError, KeyError, TypeError, AttributeError) as error:
            raise OAuth2Error("The ID token is not valid.") from error


def _require_authorized_party(claims: dict[str, Any], client_id: str) -> None:
    """Raise OAuth2Error for an ID token that was issued to another client (OpenID Connect Core, 3.1.3.7)."""
    has_several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if claims.get("azp", None if has_several else client_id) != client_id:
        raise OAuth2Error("The ID token was issued to another client.")


def _apps() -> list[dict[str, Any]]:
    apps: list[dict[str, Any]] = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]
    return apps


def buttons() -> list[dict[str, str]]:
    """Return the name and the address of each provider."""
    slugs = [(app["name"], app["settings"].get("slug")) for app in _apps()]
    return [{"name": name, "url": reverse("sso", args=[slug] if slug else [])} for name, slug in slugs]


def connections(user: User) -> list[dict[str, Any]]:
    """Return each provider, and the identity there that is linked to the user's account, if there is one.

    `is_only_way`: without it the user could not sign in.
    """
    linked = {identity.provider: identity for identity in SocialAccount.objects.filter(user=user)}
    rows = [{"name": app["name"], "identity": linked.get(app["provider_id"])} for app in _apps()]
    count = sum(bool(row["identity"]) for row in rows)
    is_only_way = count == 1 and not identities.has_way_to_sign_in_here(user)
    return [{**row, "is_only_way": is_only_way and bool(row["identity"])} for row in rows]


def _provider(request: HttpRequest, slug: str) -> Provider:
    for app in _apps():
        if app["settings"].get("slug", "") == slug:
            return Provider(request, app["provider_id"])
    raise Http404


@login_not_required
@never_cache
@require_safe
@html_errors
def begin(request: HttpRequest, slug: str = "") -> HttpResponseBase:
    """Redirect to the provider. Reached by a link: the CSP's form-action allows forms to this site only."""
    provider = _provider(request, slug)
    process, next_url = AuthProcess.LOGIN, get_next_redirect_url(request)
    if request.user.is_authenticated:
        if request.session.pop(CONNECTING, 0) < time.time():
            return HttpResponseRedirect(reverse("library"))
        process, next_url = AuthProcess.CONNECT, reverse("mfa_index")
    throttling.sso_throttle().begin()
    nonce = secrets.token_urlsafe(16)
    request.session[STARTED] = [provider.provider_id, nonce]
    allauth_provider = get_adapter(request).get_provider(request, provider.provider_id)
    allauth_provider.oauth2_adapter_class = Provider
    try:
        response: HttpResponseBase = allauth_provider.redirect(
            request, process, next_url=next_url, auth_params={"nonce": nonce}
        )
    except (OSError, KeyError, ValueError, OAuth2Error) as error:
        logger.warning("single_sign_on_unavailable error=%s", type(error).__name__)
        raise ProviderUnavailable from error
    return response


@login_not_required
@never_cache
@require_safe
@html_errors
def end(request: HttpRequest, slug: str = "") -> HttpResponseBase:
    """Handle the provider's callback.

    Raises OIDCLoginError, without a request or an audit event, unless this session started the sign-in with this
    provider.
    """
    provider = _provider(request, slug)
    started_with, provider.nonce = request.session.pop(STARTED, ("", ""))
    if started_with != provider.provider_id or request.GET.get("iss", provider.issuer).rstrip("/") != provider.issuer:
        raise OIDCLoginError
    request.session.save()  # now: SessionMiddleware saves none with a 5xx response
    try:
        response: HttpResponseBase = OAuth2CallbackView.adapter_view(provider)(request)
    except (KeyError, ValueError, TypeError) as error:
        logger.warning("single_sign_on_invalid error=%s", type(error).__name__)
        raise OIDCLoginError from error
    throttling.sso_throttle().succeeded()
    return response


@require_POST
@html_errors
@reauthentication_required(app="allauth.mfa")  # type: ignore[untyped-decorator]
def connect(request: HttpRequest) -> HttpResponseBase:
    """Let the signed-in user link an identity to their account, within the next minutes.

    The page has links: the CSP's form-action does not let a form redirect to the provider.
    """
    if not _apps():
        raise Http404
    request.session[CONNECTING] = time.time() + settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
    return render(request, "account/connect.html", {"sso_buttons": buttons()})


@require_POST
@html_errors
@reauthentication_required(app="allauth.mfa")  # type: ignore[untyped-decorator]
def disconnect(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Remove an identity from the signed-in user's account, and sign out their other sessions."""
    user = request_user(request)
    names = {app["provider_id"]: app["name"] for app in _apps()}
    identity = identities.disconnect(user, pk, providers=names)
    if identity is None:
        raise Http404
    sign_in_events.end_sessions(user, by=user, but=request.session.session_key, reason="single_sign_on")
    name = names.get(identity.provider, _("single sign-on"))
    messages.success(request, _("Disconnected from %(name)s.") % {"name": name})
    return HttpResponseRedirect(reverse("mfa_index"))
