"""gunicorn -c amalga/gunicorn.py amalga.wsgi: threads, since requests wait for Postgres and S3, not for us."""

import os
import sys

from amalga.logs import configuration, log_format


def number(name: str, default: int, *, most: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or not 0 < int(text[:9]) <= most:
        raise ValueError(f"{name}={text[:50]} is not usable: it takes a whole number from 1 to {most}.")
    return int(text)


bind = f"0.0.0.0:{number('PORT', 8000, most=65535)}"
worker_class = "gthread"
workers = number("WEB_CONCURRENCY", 2, most=1000)
threads = 8

# timeout > graceful_timeout, and keepalive longer than a load balancer keeps an idle connection (60 s at AWS): else it
# sends a request into a connection that we are closing.
timeout = 30
graceful_timeout = 25
keepalive = 75

# No access log: a redirect to a signed URL must not get into a file that many read, and the balancer has its own.
accesslog = None
errorlog = "-"
is_debug = os.environ.get("DEBUG", "").strip().lower() in {"on", "true", "yes", "1"}
logconfig_dict = configuration(log_format(os.environ.get("LOG_FORMAT", ""), debug=is_debug))
# The balancer is the only one that reaches this port and says by which scheme the browser came.
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS") or "127.0.0.1,::1"
# It would lie in the home directory, where two instances meet.
control_socket_disable = True
if sys.platform == "linux":
    worker_tmp_dir = "/dev/shm"  # noqa: S108 - the heartbeat file: on a busy disk a touch can take longer than the timeout
