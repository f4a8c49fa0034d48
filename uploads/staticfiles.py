"""How static files are named and compressed."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # whitenoise has no types
    """Hashed and compressed files; `import` paths inside ES modules are hashed as well."""

    support_js_module_import_aggregation = True
