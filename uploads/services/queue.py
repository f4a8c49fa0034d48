"""The queue of background tasks: retries, priorities, and tasks that were lost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django_tasks.base import TASK_MIN_PRIORITY, Task, TaskResultStatus
from django_tasks_db.models import DBTaskResult, get_date_max

# A store that is away is asked again after these, doubling from the first to the last.
MIN_BACKOFF_SECONDS = 30
MAX_BACKOFF_SECONDS = 3600
MAX_ATTEMPTS = 40  # a day and a half
MAX_WORKERS = 3  # a task that outlived so many workers may be what kills them
KEPT_DAYS = 1
ENDED = (TaskResultStatus.SUCCESSFUL, TaskResultStatus.FAILED)


def results_of(task: Task[Any, Any]) -> models.QuerySet[DBTaskResult[..., Any]]:
    return DBTaskResult.objects.filter(task_path=task.module_path)


def is_under_way(task: Task[Any, Any]) -> bool:
    """Whether any such task is due or being worked at. What waits for its next try is not."""
    return results_of(task).exclude(status__in=ENDED).exclude(_backoff()).exists()


def waiting_ids(task: Task[Any, Any]) -> set[UUID]:
    """The files, a task's first argument, of those tasks that wait for their next try."""
    tasks = results_of(task).filter(_backoff()).values_list("args_kwargs", flat=True)
    return {UUID(pk) for told in tasks for pk in told["args"][0]}


def retry_later(task: Task[Any, Any], tries: int) -> Task[Any, Any]:
    """The task, to be enqueued for when the store may be back after so many tries."""
    pause = min(MAX_BACKOFF_SECONDS, MIN_BACKOFF_SECONDS * 2**tries)
    return task.using(run_after=timezone.now() + timedelta(seconds=pause))


def fair_priority(owner_id: int | None) -> int:
    """The priority of one more task for the files of this person: lower with each that waits already, so that people
    take turns however much one of them sends. None stands for work that no person waits for."""
    waiting = DBTaskResult.objects.filter(status=TaskResultStatus.READY, args_kwargs__kwargs__owner_id=owner_id)
    return max(TASK_MIN_PRIORITY, -waiting[:-TASK_MIN_PRIORITY].count())


def _backoff() -> Q:
    """What has to be done at once has the latest of all dates (django_tasks_db)."""
    return Q(status=TaskResultStatus.READY, run_after__gt=timezone.now(), run_after__lt=get_date_max())


def tidy(task: Task[Any, Any], *, lost_after_seconds: float) -> None:
    """Give what a killed worker held to another, and forget old results. Safe to repeat."""
    lost = results_of(task).filter(
        status=TaskResultStatus.RUNNING, started_at__lt=timezone.now() - timedelta(seconds=lost_after_seconds)
    )
    for result in lost:
        given_up = len(result.worker_ids) >= MAX_WORKERS
        status = TaskResultStatus.FAILED if given_up else TaskResultStatus.READY
        lost.filter(pk=result.pk).update(status=status, finished_at=timezone.now() if given_up else None)
    long_ago = timezone.now() - timedelta(days=KEPT_DAYS)
    results_of(task).filter(status__in=ENDED, finished_at__lt=long_ago).delete()
