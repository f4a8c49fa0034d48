"""Check that the web server in this container responds: exit status 0 or 1.

/healthz needs no other server, so that an unavailable database restarts no container. Needs no library.
"""

import http.client
import os
import socket
import sys

SECONDS = 4


class UnixConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.host)


def connection_to(bind: str) -> http.client.HTTPConnection:
    if bind.startswith("unix:"):
        return UnixConnection(bind.removeprefix("unix:"), timeout=SECONDS)
    return http.client.HTTPConnection("127.0.0.1", int(bind.rpartition(":")[2]), timeout=SECONDS)


def main() -> str | None:
    connection = connection_to(os.environ.get("PROBE_BIND") or os.environ.get("PORT") or "8000")
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"no response: {type(error).__name__}"
    finally:
        connection.close()
    return None if status == http.HTTPStatus.OK else f"/healthz responded with {status}"


if __name__ == "__main__":
    sys.exit(main())
