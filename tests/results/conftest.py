from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def in_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkout is the working directory, as the committed tables and pages expect."""
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
