"""The admin: the second home of those who look after the files."""

from uploads.admin import events, files, folders, reports, tags, tasks, users

__all__ = ["events", "files", "folders", "reports", "tags", "tasks", "users"]
