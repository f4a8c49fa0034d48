from django.contrib.admin.apps import AdminConfig


class LibraryAdmin(AdminConfig):
    """Django's admin with our site in it."""

    default_site = "amalga.site.LibrarySite"
