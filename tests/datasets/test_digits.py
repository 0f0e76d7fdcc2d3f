"""The digits come from scikit-learn's file, without the package."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from datasets import digits


def test_the_file_holds_what_the_package_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = digits._read()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # lies elsewhere
    for ours, theirs in zip((images, labels), digits._read(), strict=True):
        assert ours.dtype == theirs.dtype == np.int64
        assert np.array_equal(ours, theirs)
