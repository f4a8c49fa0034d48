"""The user that Postgres runs as when root starts it: one without a right that its superuser could turn against the
machine."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from pathlib import Path

from amalga.local.processes import Refused, dies_with_us

NOBODY = "nobody"
NO_CAPABILITIES = ("--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all")
NO_BOUNDING_SET = "--bounding-set=-all"  # needs CAP_SETPCAP, which not every container has
AS_USER = "start it as an ordinary user"


class UnprivilegedUser:
    """The user with this number, or nobody in the place of root; in no group but nobody's.

    Folders above its own stay closed to it: a program is started in that folder, and finds it as its working directory.
    """

    def __init__(self, uid: int = 0) -> None:
        nobody = _nobody()
        self.uid = uid or nobody.pw_uid
        self.gid = nobody.pw_gid
        self.options = self._options()

    def owns(self, path: int | Path) -> None:
        """Give it an open file or a folder."""
        try:
            os.chown(path, self.uid, self.gid)
        except PermissionError:
            raise Refused(f"Root may not give files to another user here, as Postgres needs: {AS_USER}.") from None

    def can_run(self, program: Path, *options: str) -> bool:
        """Whether this program starts and succeeds."""
        return _runs(self.options, str(program), *options)

    def _options(self) -> tuple[str, ...]:
        """For setpriv(1)."""
        identity = (f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", *NO_CAPABILITIES)
        for options in ((*identity, NO_BOUNDING_SET), identity):
            if _runs(options, "true"):
                return options
        raise Refused(f"Postgres refuses to run as root, and root cannot become another user here: {AS_USER}.")


def _nobody() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(NOBODY)
    except KeyError:
        raise Refused(f"Postgres refuses to run as root, and there is no user {NOBODY} here: {AS_USER}.") from None


def _runs(options: tuple[str, ...], *command: str) -> bool:
    trial = [*dies_with_us(signal.SIGTERM, *options), *command]
    return subprocess.run(trial, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
