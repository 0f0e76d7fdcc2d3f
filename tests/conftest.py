from __future__ import annotations

import pytest

from experiments import activity


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No lines about what takes long: tests compare what is printed, on busy machines too."""
    monkeypatch.setattr(activity, "SILENCE", 3600.0)
