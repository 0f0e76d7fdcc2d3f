from __future__ import annotations

from pathlib import Path

import pytest

from tests.results.publishing import refuse_links


@pytest.fixture
def in_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkout is the working directory, as the committed tables and pages expect."""
    monkeypatch.chdir(Path(__file__).resolve().parents[2])


@pytest.fixture(params=["links", "no links"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The file system has hard links, or it has none."""
    if request.param == "no links":
        refuse_links(monkeypatch)
    return str(request.param)
