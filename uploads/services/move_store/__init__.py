"""Bring files and previews from the other store to the main one, and clear the other one afterwards."""

from uploads.services.move_store.originals import Cleared, remove_originals
from uploads.services.move_store.run import Mover
from uploads.services.move_store.survey import Survey, both_stores, require_two_buckets, survey

__all__ = ["Cleared", "Mover", "Survey", "both_stores", "remove_originals", "require_two_buckets", "survey"]
