from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class UploadsConfig(AppConfig):
    name = "uploads"
    verbose_name = _("Library")

    def ready(self) -> None:
        from allauth.account import signals as account_signals
        from allauth.mfa import signals as mfa_signals
        from allauth.socialaccount import signals as social_signals
        from django.contrib.auth import signals as auth_signals

        from uploads import checks  # noqa: F401  (registers the system checks)
        from uploads.accounts import receivers
        from uploads.services import sign_in_events

        # Django's own signals cover every way to sign in: the login page, the admin's, and any that is added later.
        auth_signals.user_logged_in.connect(receivers.on_login)
        auth_signals.user_logged_out.connect(sign_in_events.on_logout)
        auth_signals.user_login_failed.connect(sign_in_events.on_login_failed)
        account_signals.password_changed.connect(receivers.password_changed)
        social_signals.social_account_added.connect(receivers.on_identity_linked)
        mfa_signals.authenticator_added.connect(receivers.on_authenticator_added)
        mfa_signals.authenticator_removed.connect(receivers.on_authenticator_removed)
        mfa_signals.authenticator_reset.connect(receivers.on_recovery_codes_renewed)
        mfa_signals.authentication_failed.connect(sign_in_events.on_code_failed)
