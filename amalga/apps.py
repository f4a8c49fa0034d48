from django.contrib.admin.apps import AdminConfig


class AmalgaAdminConfig(AdminConfig):
    """Django's admin with our site in it."""

    default_site = "amalga.admin.AmalgaAdminSite"
