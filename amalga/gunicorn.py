"""gunicorn -c amalga/gunicorn.py amalga.wsgi: threads, since requests wait for Postgres and S3, not for us."""

import os
import sys

bind = f"0.0.0.0:{os.environ.get('PORT') or '8000'}"
worker_class = "gthread"
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
threads = 8

# timeout > graceful_timeout, and keepalive longer than a load balancer keeps an idle connection (60 s at AWS): else it
# sends a request into a connection that we are closing.
timeout = 30
graceful_timeout = 25
keepalive = 75

# No access log: a redirect to a signed URL must not get into a file that many read, and the balancer has its own.
accesslog = None
errorlog = "-"
# The balancer is the only one that reaches this port and says by which scheme the browser came.
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS") or "127.0.0.1,::1"
# It would lie in the home directory, where two instances meet.
control_socket_disable = True
if sys.platform == "linux":
    worker_tmp_dir = "/dev/shm"  # noqa: S108 - the heartbeat file: on a busy disk a touch can take longer than the timeout
