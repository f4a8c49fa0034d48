from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class UploadsConfig(AppConfig):
    name = "uploads"
    verbose_name = _("Library")

    def ready(self) -> None:
        from allauth.account import signals as of_accounts
        from allauth.mfa import signals as of_factors
        from django.contrib.auth import signals

        from uploads import checks  # noqa: F401  (registers the system checks)
        from uploads.accounts import receivers, sessions
        from uploads.services import sign_in_events

        # Django's own signals are the one place that every door leads through: the login page, the admin's, and
        # whatever signs people in later on.
        signals.user_logged_in.connect(receivers.on_login)
        signals.user_logged_out.connect(sign_in_events.on_logout)
        signals.user_login_failed.connect(sign_in_events.on_login_failed)
        signals.user_logged_in.connect(sessions.begin)
        of_accounts.password_changed.connect(receivers.password_changed)
        of_factors.authenticator_added.connect(receivers.on_authenticator_added)
        of_factors.authenticator_removed.connect(receivers.on_authenticator_removed)
        of_factors.authenticator_reset.connect(receivers.on_recovery_codes_renewed)
        of_factors.authentication_failed.connect(sign_in_events.on_code_failed)
