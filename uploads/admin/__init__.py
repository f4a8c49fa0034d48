"""The admin: the second home of those who look after the files."""

from uploads.admin import events, files, folders, people, reports, tags, work

__all__ = ["events", "files", "folders", "people", "reports", "tags", "work"]
