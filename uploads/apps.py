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
        from uploads.accounts import heard, sessions
        from uploads.services import presence

        # Django's own signals are the one place that every door leads through: the login page, the admin's, and
        # whatever signs people in later on.
        signals.user_logged_in.connect(heard.came)
        signals.user_logged_out.connect(presence.left)
        signals.user_login_failed.connect(presence.refused)
        signals.user_logged_in.connect(sessions.begin)
        of_accounts.password_changed.connect(heard.password_changed)
        of_factors.authenticator_added.connect(heard.added)
        of_factors.authenticator_removed.connect(heard.removed)
        of_factors.authenticator_reset.connect(heard.renewed)
        of_factors.authentication_failed.connect(presence.refused_code)
