"""All rows of the library as JSON lines, and the library out of them again."""

from uploads.services.manifest.compare import MOST_TOLD
from uploads.services.manifest.export import Exported, export_lines, latest_in_bucket, save_in_bucket
from uploads.services.manifest.lines import BadManifest, inspect
from uploads.services.manifest.rebuild import Rebuilt, rebuild

__all__ = [
    "MOST_TOLD",
    "BadManifest",
    "Exported",
    "Rebuilt",
    "export_lines",
    "inspect",
    "latest_in_bucket",
    "rebuild",
    "save_in_bucket",
]
