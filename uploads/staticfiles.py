"""The storage for static files."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # whitenoise has no types
    """Hash and compress static files, and rewrite the `import` paths inside ES modules to the hashed names."""

    support_js_module_import_aggregation = True
    # A pass settles at least one level of imports, whatever the order of the files. `main.js` has nine levels.
    max_post_process_passes = 10
