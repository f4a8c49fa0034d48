"""gunicorn -c amalga/gunicorn_conf.py amalga.wsgi: threads, because requests mostly wait for Postgres and S3.

A connection keeps its thread while its bytes are sent, so run a buffering proxy in front of gunicorn
(docs/operate/proxy.md).
"""

import ctypes
import gc
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from amalga import capacity, probe_server
from amalga.log import configuration, log_format


def env_int(name: str, default: int, *, maximum: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or not 0 < int(text[:9]) <= maximum:
        raise ValueError(f"{name} must be an integer between 1 and {maximum}, not “{text[:50]}”.")
    return int(text)


bind = f"0.0.0.0:{env_int('PORT', 8000, maximum=65535)}"
worker_class = "amalga.gunicorn_worker.Worker"
workers = env_int("WEB_CONCURRENCY", capacity.worker_count(), maximum=1000)
threads = env_int("WEB_THREADS", capacity.THREADS, maximum=100)
# The app is loaded once, before the processes are forked: a failed start fails at once, and the code is in memory
# once.
preload_app = True
# For one process, idle connections included. Others wait in the backlog that all processes share, for the next process
# with room.
worker_connections = 100
backlog = 512

# timeout > graceful_timeout, and keepalive longer than a router keeps an idle connection (60 s at AWS): otherwise it
# sends a request on a connection that we are closing. nginx keeps no idle connections.
timeout = 30
graceful_timeout = 25
keepalive = 75

# The longest URL is that of a list, whose cursor holds the name of the last entry. Cookies are the largest header.
limit_request_line = 8190
limit_request_fields = 64
limit_request_field_size = 8190

# No access log: signed URLs of redirects must not end up in a widely readable file, and the balancer has its own.
accesslog = None
errorlog = "-"
is_debug = os.environ.get("DEBUG", "").strip().lower() in {"on", "true", "yes", "1"}
logconfig_dict = configuration(log_format(os.environ.get("LOG_FORMAT", ""), debug=is_debug))
# Only the balancer reaches this port, and it sends the scheme of the browser's request.
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS") or "127.0.0.1,::1"
# The balancer forwards these headers from browsers, so they are not trusted.
forwarder_headers = ""
# It would be in the home directory, which two instances can share.
control_socket_disable = True
if sys.platform == "linux":
    worker_tmp_dir = "/dev/shm"  # noqa: S108 - the heartbeat file: on a busy disk a touch can take longer than the timeout


# Each process counts in files of its own in this folder, and a scrape adds them up (prometheus_client's multiprocess
# mode). It is set before any metric is loaded. Without a token there are no metrics.
METRICS_PARENT = Path("/dev/shm")  # noqa: S108 - with a private folder in it
METRICS_PREFIX = "amalga-metrics-"


def new_metrics_folder(parent: Path) -> str:
    """Create the folder in `parent`, and delete those of killed servers."""
    for leftover in parent.glob(f"{METRICS_PREFIX}*"):
        pid = leftover.name.removeprefix(METRICS_PREFIX).partition("-")[0]
        if sys.platform == "linux" and not Path("/proc", pid).exists() and leftover.stat().st_uid == os.getuid():
            shutil.rmtree(leftover, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{METRICS_PREFIX}{os.getpid()}-", dir=parent)


if os.environ.get("METRICS_TOKEN") and not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
    metrics_parent = METRICS_PARENT if os.access(METRICS_PARENT, os.W_OK) else Path(tempfile.gettempdir())
    metrics_folder = os.environ["PROMETHEUS_MULTIPROC_DIR"] = new_metrics_folder(metrics_parent)


# The address where health checks work even when all threads are busy; without it, they use PORT only.
probe_bind = os.environ.get("PROBE_BIND", "")


# glibc's malloc.h, and its initial values
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
THRESHOLD_BYTES = 128 * 1024


def return_freed_memory() -> None:
    """Let glibc return freed memory to the system, in this process and its children.

    By default it raises both thresholds to the size of the largest blocks that it has seen, up to 32 MiB, and each
    thread has its own arena: the memory of pages and rows of lists, which come and go, would grow for hours.
    Other C libraries have no such parameters.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, THRESHOLD_BYTES)
        mallopt(M_MMAP_THRESHOLD, THRESHOLD_BYTES)
        mallopt(M_ARENA_MAX, 2)


def on_starting(_server: Any) -> None:
    """Open the socket for health checks that all processes share."""
    return_freed_memory()
    if probe_bind:
        probe_server.listener(probe_bind)


def post_worker_init(worker: Any) -> None:
    if probe_bind:
        probe_server.serve(probe_bind, worker.wsgi)


def when_ready(_server: Any) -> None:
    """Load what requests need, and freeze it, so that processes share it: otherwise the first garbage collection of
    each would copy most objects. A page creates thousands of short-lived ones, so collecting after every 700 of them
    would find nothing."""
    from django.urls import get_resolver

    from uploads import s3

    get_resolver().url_patterns  # noqa: B018 - imports all views
    s3.preload()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 20)


def post_fork(_server: Any, _worker: Any) -> None:
    """Close the connections of the first process, so that no two processes share one."""
    from django.db import connections

    from uploads import s3

    for connection in connections.all(initialized_only=True):
        connection.close()
    s3.reset()


def child_exit(_server: Any, worker: Any) -> None:
    """Remove the gauges of a process that ended; what it counted stays."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    if "metrics_folder" in globals() and not server.reexec_pid:
        shutil.rmtree(metrics_folder, ignore_errors=True)
