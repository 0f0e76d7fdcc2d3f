"""The guard sees what it is there for."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz.guard import Harm, harmless


@pytest.mark.parametrize(
    "act",
    [
        lambda place: (place / "written").write_text("x"),
        lambda place: (place / "folder").mkdir(),
        lambda place: shutil.rmtree(tempfile.mkdtemp(dir=place)),
        lambda _: subprocess.run(["true"], check=True),
        lambda _: pickle.loads(pickle.dumps(Path("x"))),
        lambda _: time.sleep(5),
    ],
    ids=["write", "mkdir", "rmtree", "start", "unpickle", "hang"],
)
def test_harm_is_seen(act: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(Harm), harmless(seconds=0.5):
        act(tmp_path)


def test_what_is_allowed_is_no_harm(tmp_path: Path) -> None:
    with harmless(tmp_path):
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder/written").write_text("x")
        shutil.rmtree(tmp_path / "folder")
        Path(__file__).read_text()
