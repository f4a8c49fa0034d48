"""Bucket and database compared in one merged pass of two sorted streams, and what is provable mended."""

from uploads.services.fsck.recheck import BACK
from uploads.services.fsck.repair import Repaired, repair
from uploads.services.fsck.run import COMMAND, GRACE_SECONDS, Refused, RunObserver, Scope, describe_unrepaired, fsck

__all__ = [
    "BACK",
    "COMMAND",
    "GRACE_SECONDS",
    "Refused",
    "Repaired",
    "RunObserver",
    "Scope",
    "describe_unrepaired",
    "fsck",
    "repair",
]
