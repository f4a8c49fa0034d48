"""Export all rows of the library as JSON lines, and rebuild the library from them."""

from uploads.services.manifest.export import Exported, export_lines, latest_in_bucket, save_in_bucket
from uploads.services.manifest.format import MAX_REPORTED, BadManifest, inspect
from uploads.services.manifest.restore import Rebuilt, rebuild

__all__ = [
    "MAX_REPORTED",
    "BadManifest",
    "Exported",
    "Rebuilt",
    "export_lines",
    "inspect",
    "latest_in_bucket",
    "rebuild",
    "save_in_bucket",
]
