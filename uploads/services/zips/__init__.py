"""Stream many files as one zip of a known length, with their bytes as the storage sends them."""

from uploads.services.zips.build import Bundle, bundle
from uploads.services.zips.download import Download, open_zip

__all__ = ["Bundle", "Download", "bundle", "open_zip"]
