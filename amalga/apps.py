from django.apps import apps
from django.contrib.admin.apps import AdminConfig
from django.utils.translation import gettext_lazy as _

# What the admin's headings and breadcrumbs call the apps of others.
APP_NAMES = {"auth": _("People"), "django_tasks_database": _("Background tasks")}


class AmalgaAdminConfig(AdminConfig):
    """Django's admin with our admin site."""

    default_site = "amalga.admin.AmalgaAdminSite"

    def ready(self) -> None:
        super().ready()
        for label, name in APP_NAMES.items():
            apps.get_app_config(label).verbose_name = name
