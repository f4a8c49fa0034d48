"""Bucket and database compared in one merged pass of two sorted streams, and what is provable mended."""

from uploads.services.fsck.look import BACK
from uploads.services.fsck.repair import Repaired, repair
from uploads.services.fsck.run import COMMAND, GRACE_SECONDS, Refused, Scope, Teller, fsck
from uploads.services.fsck.words import left_in_words

__all__ = [
    "BACK",
    "COMMAND",
    "GRACE_SECONDS",
    "Refused",
    "Repaired",
    "Scope",
    "Teller",
    "fsck",
    "left_in_words",
    "repair",
]
