"""Options are composed once for the same files."""

from grid.conftest import quick

__all__ = ["quick"]
