"""The log line that the worker writes every minute: the queue metrics for CloudWatch and autoscaling."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from amalga.log import JSONFormatter
from tests.amalga.test_metrics import add_task
from tests.conftest import PROJECT
from tests.support.stores import Bucket
from tests.support.waiting import wait_until
from uploads.services import metrics

pytestmark = pytest.mark.django_db


def queue_line(log: str) -> dict[str, Any]:
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    (metric,) = [line for line in lines if "_aws" in line]
    return dict(metric)


def test_log_line_is_a_cloudwatch_metric(settings: Settings) -> None:
    add_task(enqueued=timedelta(minutes=5))
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONFormatter())
    logging.getLogger(metrics.__name__).addHandler(handler)
    try:
        metrics.log_queue()
    finally:
        logging.getLogger(metrics.__name__).removeHandler(handler)
    line = queue_line(stream.getvalue())
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"]) == ("Amalga", [[], ["Bucket"]])
    assert (line["Bucket"], line["QueueTasks"]) == (settings.S3_BUCKET, 1)
    assert 300 <= line["QueueOldestSeconds"] < 360
    assert abs(line["_aws"]["Timestamp"] / 1000 - time.time()) < 60
    # the format requires a top-level value for each metric and dimension
    assert {metric["Name"] for metric in directive["Metrics"]} | {"Bucket"} <= set(line)


@pytest.mark.django_db(transaction=True)
def test_worker_logs_the_queue_metric(tmp_path: Path, bucket: Bucket) -> None:
    database = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    log = tmp_path / "worker.log"
    with log.open("wb") as out:
        worker = subprocess.Popen(
            [sys.executable, "-W", "error", "manage.py", "worker"], cwd=PROJECT, stdout=out, stderr=out,
            env={**os.environ, "DATABASE_URL": database, "LOG_FORMAT": "json"},
        )  # fmt: skip
    try:
        wait_until(lambda: "_aws" in log.read_text())
    finally:
        worker.terminate()
        worker.wait(10)
    assert queue_line(log.read_text())["QueueTasks"] == 0
