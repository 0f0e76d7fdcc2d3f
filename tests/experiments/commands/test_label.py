"""A data set of the user's own under a name of the user's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.experiments import cli


def own(folder: Path, **options: object) -> Path:
    """A matrix on an .npz of noise beside it."""
    draws = np.random.default_rng(0)
    parts = {}
    for part, size in (("train", 32), ("test", 8)):
        parts[f"x_{part}"] = draws.integers(256, size=(size, 16, 16, 3), dtype=np.uint8)
        parts[f"y_{part}"] = np.arange(size) % 4
    (folder / "data").mkdir(exist_ok=True)
    np.savez(folder / "data" / "own.npz", **parts)
    dataset = {"name": "arrays", "file": "own.npz", **options}
    return cli.write(folder, dataset=dataset, methods=["vanilla"], trials=1, recipe__epochs=1)


def test_tables_show_it_and_finished_runs_stay_finished(tmp_path, inline):
    assert cli.command("run", own(tmp_path), "--workers", "1").code == 0
    plain = cli.command("table", own(tmp_path)).out
    labeled = cli.command("table", own(tmp_path, label="My birds")).out
    assert "arrays" in plain and "My birds" not in plain
    assert labeled == plain.replace("arrays", "My birds")
    status = cli.command("status", own(tmp_path, label="My birds")).out
    assert "1 run: 1 done" in status


def test_trained_with_a_label_it_is_the_same_run(tmp_path, inline):
    assert cli.command("run", own(tmp_path, label="My birds"), "--workers", "1").code == 0
    assert "1 run: 1 done" in cli.command("status", own(tmp_path)).out


@pytest.mark.parametrize("label", ["", "two\nlines", 5])
def test_a_label_is_one_line(tmp_path, label):
    said = cli.command("plan", own(tmp_path, label=label), "--no-timing")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert f"option label = {label!r}: expected a name in one line" in said.err
