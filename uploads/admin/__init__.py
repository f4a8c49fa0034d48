"""The Django admin of files, folders, tags, people, the audit log, reports and tasks."""

from uploads.admin import events, files, folders, reports, users

__all__ = ["events", "files", "folders", "reports", "users"]
