"""Expire, purge, erase and repair what is due."""

from uploads.services.sweep.runner import sweep

__all__ = ["sweep"]
