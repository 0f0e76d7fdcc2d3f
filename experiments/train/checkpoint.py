"""The checkpoint and the history of a run in training, on disk.

Only the main process of a group reads and writes.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import torch

from experiments.rundir.layout import CHECKPOINT
from experiments.train.learner import Learner
from results import records


def save(learner: Learner) -> None:
    """Write the checkpoint (atomically) and the history."""
    state = learner.state()
    learner.group.on_main(lambda: _write(learner, state))


def _write(learner: Learner, state: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    records.write_atomic(learner.directory / CHECKPOINT, buffer.getvalue())
    write_history(learner)


def write_history(learner: Learner) -> None:
    """Write ``history.csv``: one row per finished epoch, with the columns of all rows."""
    columns = list(dict.fromkeys(key for row in learner.history for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(learner.history)
    records.write_atomic(learner.directory / records.HISTORY, text.getvalue())


def resume(learner: Learner) -> None:
    """Load the checkpoint if there is one; one that cannot be used is set aside, with a warning.

    Raises RuntimeError for one that can be read but does not fit today's code.
    """
    path = learner.directory / CHECKPOINT
    content = learner.group.on_main(lambda: path.read_bytes() if path.exists() else None)
    if content is None:
        return
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  (torch raises many kinds for a broken file)
        reason = str(error).partition("\n")[0].partition(". ")[0]
        _start_over(learner, path, f"could not be read ({reason})")
        return
    if state["teacher"] != (learner.teacher.sha256 if learner.teacher else None):
        _start_over(learner, path, "was made with another teacher")
        return
    try:
        learner.load(state)
    except (KeyError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise RuntimeError(
            f"{path} does not fit today's code; move it away to start from scratch ({reason})"
        ) from error


def _start_over(learner: Learner, path: Path, why: str) -> None:
    kept = learner.group.on_main(lambda: records.set_aside(path).name)
    learner.warnings.append(f"checkpoint {why}; kept as {kept}")
    save(learner)  # the warning is part of the state: after a crash the next start still has it
