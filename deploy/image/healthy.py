"""Whether the web server in this container answers: exit status 0 or 1.

/healthz leans on nothing, so that a database that is away restarts no container. Needs no library.
"""

import http.client
import os
import sys

SECONDS = 4


def main() -> str | None:
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT") or 8000), timeout=SECONDS)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as fault:
        return f"no answer: {type(fault).__name__}"
    finally:
        connection.close()
    return None if status == http.HTTPStatus.OK else f"/healthz answers {status}"


if __name__ == "__main__":
    sys.exit(main())
