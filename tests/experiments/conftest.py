from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import distillers.registry
import models.base
from experiments import slurm
from experiments.local import queue as local_queue
from experiments.plan import jobs
from tests.experiments import cli, fake_slurm, sending


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def own_registry() -> Iterator[None]:
    """What plugins register is forgotten after the test."""
    registries = distillers.registry.REGISTRY, models.base.REGISTRY
    before = [dict(registry._entries) for registry in registries]
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry._entries = entries
    for name in [name for name in sys.modules if name.startswith("kd_plugin_")]:
        del sys.modules[name]


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever starts a worker fails the test."""

    def refuse(waiting: list[jobs.Task], *_: object) -> None:
        raise AssertionError(f"would have trained {[str(t.job.specs[0]) for t in waiting]}")

    monkeypatch.setattr(local_queue, "run", refuse)


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers run in this process: the same jobs without the seconds that an import takes."""
    monkeypatch.setattr(local_queue, "run", cli.run_inline)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the finished runs of `cli.MATRIX`; tests work on a copy of it."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_queue, "run", cli.run_inline)
        outcome = cli.command("run", cli.write(folder), "--workers", "1")
    assert outcome.code == 0, outcome.err
    assert os.listdir(folder / "runs") == ["fake"]
    return folder


@pytest.fixture
def fake(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[fake_slurm.Slurm]:
    """A SLURM of scripts: nothing runs in it but what the test lets run."""
    yield fake_slurm.install(tmp_path_factory.mktemp("slurm") / "a cluster", monkeypatch)
    slurm.config.cache_clear()
    slurm.others.cache_clear()


@pytest.fixture
def place(tmp_path: Path) -> sending.Place:
    """A folder with `cli.MATRIX`, of which nothing has run."""
    return sending.Place(tmp_path).write()


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> sending.Place:
    """A folder with `cli.MATRIX`, of which everything has run; a test may spoil it."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return sending.Place(tmp_path)
