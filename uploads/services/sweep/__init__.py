"""Do everything whose time has come."""

from uploads.services.sweep.runner import sweep

__all__ = ["sweep"]
