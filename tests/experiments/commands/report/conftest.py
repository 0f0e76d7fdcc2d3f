from __future__ import annotations

import pytest

from tests.experiments.commands.report import reporting
from tests.experiments.commands.report.reporting import Reports


@pytest.fixture
def reports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Reports:
    """`report` without its pages: what they would be made from is kept."""
    if "fake" not in request.fixturenames:  # a SLURM of this machine must not matter
        monkeypatch.setattr("experiments.slurm.is_here", lambda: False)
    return reporting.install(monkeypatch)
