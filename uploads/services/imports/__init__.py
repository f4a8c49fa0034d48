"""Import the objects that a bucket already has as files, without copying a byte."""

from uploads.services.imports.run import BATCH_KEYS, WRITERS, ImportStats, Plan, Step, import_objects, plan_import

__all__ = ["BATCH_KEYS", "WRITERS", "ImportStats", "Plan", "Step", "import_objects", "plan_import"]
