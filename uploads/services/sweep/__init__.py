"""Do everything whose time has come."""

from uploads.services.sweep.rounds import sweep

__all__ = ["sweep"]
