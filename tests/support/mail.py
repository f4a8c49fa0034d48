"""Mail in tests: settings for a test server, and running the worker."""

from __future__ import annotations

from django_tasks_db.management.commands.db_worker import Worker
from django_tasks_db.models import DBTaskResult
from pytest_django import Settings

from tests.support.smtp_server import SmtpServer


def use_mail_server(server: SmtpServer, settings: Settings) -> None:
    settings.EMAIL_IS_CONFIGURED = True
    settings.EMAIL_HOST, settings.EMAIL_PORT = "localhost", server.port
    settings.EMAIL_USE_TLS, settings.EMAIL_USE_SSL = server.starttls is not None, server.tls is not None
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "amalga" if server.password else "", server.password
    settings.EMAIL_TIMEOUT = 2
    settings.DEFAULT_FROM_EMAIL = "Files <files@example.org>"
    settings.SITE_URL = "https://files.example.org"


def run_worker() -> None:
    """Run all due tasks like the worker, but in the transaction of the test."""
    worker = Worker(
        queue_names=["default"], excluded_queue_names=[], interval=0, batch=True, backend_name="default",
        startup_delay=False, max_tasks=None, worker_id="test",
    )  # fmt: skip
    while task := DBTaskResult.objects.ready().first():
        task.claim("test")
        worker.run_task(task)
