"""`doctor` before a SLURM that works, and before one that does not answer."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments import slurm
from tests.experiments import cli

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    slurm.config.cache_clear()
    yield
    slurm.config.cache_clear()


def examined(folder: Path, *more: str) -> dict[str, str]:
    """What was looked at -> the level."""
    (folder / "site.yaml").write_text("{}")
    site = ("--site", str(folder / "site.yaml"))
    called = cli.command("doctor", cli.write(folder), *site, *more)
    assert "Traceback" not in called.out + called.err
    found = re.findall(r"^(ok|note|BAD) +([^:]+):", called.out, re.MULTILINE)
    assert called.code == any(level == "BAD" for level, _ in found)
    return {what: level for level, what in found}


def test_everything_is_asked_and_nothing_is_sent(tmp_path: Path) -> None:
    found = examined(tmp_path)
    asked = ("SLURM", "SLURM controller", "partition batch", "requeue", "account", "arrays")
    asked += ("a job like ours", "jobs", "accounting", "places", "matrix", "data", "left behind")
    assert {what: found.get(what) for what in asked} == dict.fromkeys(asked, "ok")
    assert slurm.named("kd-doctor") is None


def test_a_partition_that_is_not_there(tmp_path: Path) -> None:
    found = examined(tmp_path, "--partition", "bach")
    assert (found["partition bach"], found["a job like ours"]) == ("BAD", "BAD")


def test_a_controller_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = Path(os.environ["SLURM_CONF"]).read_text()
    other = tmp_path / "slurm.conf"
    other.write_text(re.sub(r"SlurmctldPort=\d+", "SlurmctldPort=9", conf))
    monkeypatch.setenv("SLURM_CONF", str(other))
    found = examined(tmp_path)
    assert found["SLURM controller"] == "BAD"
    assert "partition batch" not in found
    assert found["matrix"] == "ok"
