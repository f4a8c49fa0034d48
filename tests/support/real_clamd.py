"""A real clamd with one local signature, so that it downloads none.

`python -m tests.support.real_clamd` installs it if it is missing.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

from amalga.local.processes import Daemon, free_port
from tests.support.debian import find, install

ADVICE = "No clamd for the tests: install it (apt install clamav-daemon, brew install clamav), then run make again."
READY_SECONDS = 60
STREAM_MAX_BYTES = 1024**2
# MD5, size and name of the EICAR test file, in the format of an .hdb file.
SIGNATURE = "44d88612fea8a8f36de82e1278abb02f:68:Eicar-Test-Signature\n"
SETTINGS = """
Foreground yes
DatabaseDirectory {folder}/signatures
TCPSocket {port}
TCPAddr 127.0.0.1
LocalSocket {folder}/clamd.sock
StreamMaxLength {limit}
LogFile {folder}/clamd.txt
"""


class RealClamd:
    """A clamd process with a TCP port and a Unix socket."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.socket = folder / "clamd.sock"
        (folder / "signatures").mkdir(parents=True)
        (folder / "signatures" / "test.hdb").write_text(SIGNATURE)
        config = folder / "clamd.conf"
        config.write_text(SETTINGS.format(folder=folder, port=self.port, limit=STREAM_MAX_BYTES))
        self.daemon = Daemon("clamd", folder, mark="clamd", stop_signal=signal.SIGTERM)
        program = find("clamd")
        assert program, ADVICE
        self.daemon.start([program, "--config-file", str(config)], env=dict(os.environ))
        self._wait()

    def stop(self) -> None:
        self.daemon.stop()

    def _wait(self) -> None:
        end = time.monotonic() + READY_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.daemon.exit_code() is None, self.daemon.log_tail()
                assert time.monotonic() < end, self.daemon.log_tail()
                time.sleep(0.1)


if __name__ == "__main__":
    if not find("clamd") and not (install("clamav-daemon") and find("clamd")):
        sys.exit(ADVICE)
