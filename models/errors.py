"""The error of this package."""

from __future__ import annotations


class ModelError(ValueError):
    """A model or checkpoint cannot be used; the message is one line."""
