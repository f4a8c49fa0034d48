"""Compare bucket and database in one merged pass over two sorted streams, and repair what is provable."""

from uploads.services.fsck.diff import BACK
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
