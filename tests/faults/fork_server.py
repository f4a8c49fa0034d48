"""`python -m tests.faults.fork_server`: Amalga, loaded once; it runs each action in a child process.

It reads one JSON object per line (`act`, `point`, `cookies`) and answers each with one: the result, or that the
child crashed at the failpoint. It opens no connections itself, so that its children share none.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import django
from django.conf import settings

from tests.faults.actions import DIED, action_from, to_json
from tests.faults.in_process import InProcess


def main() -> None:
    django.setup()
    settings.WHITENOISE_AUTOREFRESH = True  # a test client would read the folder of static files each time
    for name, value in json.loads(sys.argv[1]).items():
        setattr(settings, name, value)
    _warm_up()
    for line in sys.stdin:
        print(json.dumps(_run_in_child(json.loads(line))), flush=True)  # noqa: T201 - the pipe to the tests


def _warm_up() -> None:
    """Load what takes half a second and opens no connection."""
    from django.test import Client
    from django.urls import reverse

    from uploads.s3 import client

    reverse("uploads")
    Client().handler.load_middleware()
    client.client("quick")
    client.client("batch")
    client.http()


def _run_in_child(request: Mapping[str, Any]) -> dict[str, Any]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        settings.FAILPOINT = request["point"]
        result = InProcess(request["cookies"]).do(action_from(request["act"]))
        with open(write, "w") as pipe:
            json.dump(to_json(result), pipe)
        os._exit(0)
    os.close(write)
    with open(read) as pipe:
        text = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code not in {0, DIED}:
        raise RuntimeError(f"the child of {request} ended with {code}")
    return json.loads(text) if code == 0 else {"died": True}


if __name__ == "__main__":
    main()
