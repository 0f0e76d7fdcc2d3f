"""`doctor` with a SLURM that works, and with one that does not answer."""

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
def without_cached_config() -> Iterator[None]:
    slurm.config.cache_clear()
    yield
    slurm.config.cache_clear()


def examine(folder: Path, *more: str) -> dict[str, str]:
    """What was checked -> its level."""
    (folder / "site.yaml").write_text("{}")
    site = ("--site", str(folder / "site.yaml"))
    called = cli.command("doctor", cli.write(folder), *site, *more)
    assert "Traceback" not in called.out + called.err
    findings = re.findall(r"^(OK|WARN|FAIL) +([^:]+):", called.out, re.MULTILINE)
    assert called.code == any(level == "FAIL" for level, _ in findings)
    return {subject: level for level, subject in findings}


def test_everything_is_checked_and_nothing_is_sent(tmp_path: Path) -> None:
    levels = examine(tmp_path)
    expected = ("SLURM", "partition batch", "account", "test job", "shared disks", "matrix", "data")
    assert {subject: levels.get(subject) for subject in expected} == dict.fromkeys(expected, "OK")
    assert slurm.named("kd-doctor") is None


def test_a_partition_that_does_not_exist(tmp_path: Path) -> None:
    levels = examine(tmp_path, "--partition", "bach")
    assert (levels["partition bach"], levels["test job"]) == ("FAIL", "FAIL")


def test_a_controller_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = Path(os.environ["SLURM_CONF"]).read_text()
    other = tmp_path / "slurm.conf"
    other.write_text(re.sub(r"SlurmctldPort=\d+", "SlurmctldPort=9", conf))
    monkeypatch.setenv("SLURM_CONF", str(other))
    levels = examine(tmp_path)
    assert levels["SLURM"] == "FAIL"
    assert "partition batch" not in levels
    assert levels["matrix"] == "OK"
