from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class UploadsConfig(AppConfig):
    name = "uploads"
    verbose_name = _("Library")

    def ready(self) -> None:
        from django.contrib.auth import signals

        from uploads import checks  # noqa: F401  (registers the system checks)
        from uploads.services import presence

        # Django's own signals are the one place that every door leads through: the login page, the admin's, and
        # whatever signs people in later on.
        signals.user_logged_in.connect(presence.came)
        signals.user_logged_out.connect(presence.left)
        signals.user_login_failed.connect(presence.refused)
