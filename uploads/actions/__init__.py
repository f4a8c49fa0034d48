"""Bulk actions: one module each. A new module with a registered class appears on the pages and in the admin."""

from importlib import import_module
from pkgutil import iter_modules

from uploads.actions.base import (
    REGISTRY,
    BulkAction,
    BulkResult,
    admin_actions,
    audit_label,
    audit_labels,
    describe,
    get_action,
    page_actions,
    register,
)
from uploads.actions.move import move_files
from uploads.actions.restore import restore_file, restore_files, restore_folder
from uploads.actions.tag import known_tags, tag_files
from uploads.actions.trash import trash_file, trash_files
from uploads.actions.undo import undo_action
from uploads.actions.visibility import set_visibility

__all__ = [
    "REGISTRY",
    "BulkAction",
    "BulkResult",
    "admin_actions",
    "audit_label",
    "audit_labels",
    "describe",
    "get_action",
    "known_tags",
    "move_files",
    "page_actions",
    "register",
    "restore_file",
    "restore_files",
    "restore_folder",
    "set_visibility",
    "tag_files",
    "trash_file",
    "trash_files",
    "undo_action",
]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
