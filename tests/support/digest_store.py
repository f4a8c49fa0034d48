"""The process of the storage that verifies checksums. It runs in .venv-digest, not in the tests' Python.

LocalStack's S3 with two patches, because LocalStack listens on all addresses and keeps objects in one
folder that all its instances share.
"""

import os
import runpy
from typing import Any

from localstack.services.s3 import provider
from twisted.internet import reactor

listen_tcp = reactor.listenTCP


def listen_on_loopback(port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
    return listen_tcp(port, factory, backlog, "127.0.0.1")


reactor.listenTCP = listen_on_loopback
provider.DEFAULT_S3_TMP_DIR = os.path.join(os.environ["TMPDIR"], "objects")
runpy.run_module("localstack.runtime.main", run_name="__main__")
