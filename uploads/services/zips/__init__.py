"""Many files as one zip: its names, its length to the byte, and its bytes as they come from the store."""

from uploads.services.zips.build import Bundle, bundle
from uploads.services.zips.download import Download, open_zip

__all__ = ["Bundle", "Download", "bundle", "open_zip"]
