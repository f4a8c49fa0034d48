from django.contrib.admin.apps import AdminConfig


class AmalgaAdminConfig(AdminConfig):
    """Django's admin with our admin site."""

    default_site = "amalga.admin.AmalgaAdminSite"
