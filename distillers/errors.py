"""The errors of this package."""

from __future__ import annotations


class MethodError(ValueError):
    """An unknown method or option, or an invalid value; the message is one line."""


class Unsupported(MethodError):  # noqa: N818  (describes a pair, not a failure)
    """This method cannot serve this pair of networks; the plan shows n/a and this message."""
