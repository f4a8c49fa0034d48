"""Move files and previews from the other store to the main one, and clean up the other one afterwards."""

from uploads.services.move_store.cleanup import Cleared, remove_originals
from uploads.services.move_store.rows import MovePlan, both_stores, plan_move, require_two_buckets
from uploads.services.move_store.run import Mover

__all__ = ["Cleared", "MovePlan", "Mover", "both_stores", "plan_move", "remove_originals", "require_two_buckets"]
