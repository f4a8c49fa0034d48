"""gunicorn -c amalga/gunicorn_conf.py amalga.wsgi: threads, since requests wait for Postgres and S3, not for us.

A thread belongs to a connection for as long as its bytes take, so a proxy that buffers stands before us
(deploy/server.md).
"""

import gc
import os
import sys
from pathlib import Path
from typing import Any

from amalga import capacity, probes
from amalga.log import configuration, log_format
from amalga.metrics import multiprocess


def env_int(name: str, default: int, *, most: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or not 0 < int(text[:9]) <= most:
        raise ValueError(f"{name}={text[:50]} is not usable: it takes a whole number from 1 to {most}.")
    return int(text)


bind = f"0.0.0.0:{env_int('PORT', 8000, most=65535)}"
worker_class = "gthread"
workers = env_int("WEB_CONCURRENCY", capacity.worker_count(), most=1000)
threads = env_int("WEB_THREADS", capacity.THREADS, most=100)
# The app is loaded once, before any process is made: a start that is refused is refused at once, and what was loaded
# is in memory once.
preload_app = True
# Of one process, idle ones included. The rest wait in the backlog that all processes share, and go to the next that has
# room.
worker_connections = 100
backlog = 512
# A process is replaced now and then, each at another moment, whatever its libraries may have kept.
max_requests = 20_000
max_requests_jitter = 5_000

# timeout > graceful_timeout, and keepalive longer than a router keeps an idle connection (60 s at AWS): else it sends a
# request into a connection that we are closing. nginx keeps none.
timeout = 30
graceful_timeout = 25
keepalive = 75

# The longest address of ours is a list's, with the name of its last entry in it. Cookies are the largest header.
limit_request_line = 8190
limit_request_fields = 64
limit_request_field_size = 8190

# No access log: a redirect to a signed URL must not get into a file that many read, and the balancer has its own.
accesslog = None
errorlog = "-"
is_debug = os.environ.get("DEBUG", "").strip().lower() in {"on", "true", "yes", "1"}
logconfig_dict = configuration(log_format(os.environ.get("LOG_FORMAT", ""), debug=is_debug))
# The balancer is the only one that reaches this port and says by which scheme the browser came.
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS") or "127.0.0.1,::1"
# It passes on what browsers send: none of these headers is its own.
forwarder_headers = ""
# It would lie in the home directory, where two instances meet.
control_socket_disable = True
if sys.platform == "linux":
    worker_tmp_dir = "/dev/shm"  # noqa: S108 - the heartbeat file: on a busy disk a touch can take longer than the timeout


# Each process counts in a folder that all share, named before anything that counts is loaded. Nobody counts for nobody.
if os.environ.get("METRICS_TOKEN") and not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
    metrics_folder = os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(multiprocess.new_folder())


# Where health checks are answered whatever the threads do; nowhere but at PORT without it.
probe_bind = os.environ.get("PROBE_BIND", "")


def on_starting(_server: Any) -> None:
    """All processes answer health checks at one socket."""
    if probe_bind:
        probes.listener(probe_bind)


def post_worker_init(worker: Any) -> None:
    if probe_bind:
        probes.serve(probe_bind, worker.wsgi)


def when_ready(_server: Any) -> None:
    """What was loaded stays: without this, each process would copy most of it when it first collects garbage. And a
    page makes thousands of objects that go with it: to look for garbage after each 700 of them finds none."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 20)


def post_fork(_server: Any, _worker: Any) -> None:
    """No connection of the first process is used by two."""
    from django.db import connections

    from uploads import s3

    for connection in connections.all(initialized_only=True):
        connection.close()
    s3.reset()


def child_exit(server: Any, worker: Any) -> None:
    """What a process counted is kept; if it cannot be, that ends nobody."""
    try:
        if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            multiprocess.merge_dead_worker(Path(folder), worker.pid)
    except Exception as fault:
        server.log.warning("metrics_left pid=%s fault=%s", worker.pid, type(fault).__name__)


def on_exit(server: Any) -> None:
    if "metrics_folder" in globals() and not server.reexec_pid:
        multiprocess.remove(Path(metrics_folder))
