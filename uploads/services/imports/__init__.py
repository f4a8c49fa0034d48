"""Make files of what a bucket holds already, without copying a byte."""

from uploads.services.imports.run import BATCH_KEYS, WRITERS, Figures, Plan, Step, bring_in, look

__all__ = ["BATCH_KEYS", "WRITERS", "Figures", "Plan", "Step", "bring_in", "look"]
