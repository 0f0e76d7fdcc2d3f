"""What a finished run leaves: weights, history, predictions, measures, and last result.json.

Their formats: `results.predictions`, `results.schema`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from experiments.rundir.layout import HEAD, WEIGHTS
from experiments.train import checkpoint, numerics
from experiments.train.learner import Learner
from experiments.train.predictions import Rows, assembled, collector, taught_by
from models.checkpoints.files import save_weights, sha256
from results import predictions, provenance, records
from results.schema import MeasuredTeacher, Record, Start


def finish(learner: Learner, check: Callable[[], None] = lambda: None) -> float:
    """Write weights, history and, last, the result; returns the headline accuracy.

    ``check`` is called before the first write, since the last test may take minutes; it raises if
    another process has taken the run over.
    """
    test = None
    if learner.data.epoch_split != learner.data.scored_on:  # the test set is read here
        learner.collected = collector(learner.data, learner.predictions)
        test = learner.evaluate("test", learner.collected)
    elif learner.collected is None:
        learner.repeat_last_test()
    assert learner.collected is not None
    rows = learner.collected.gathered(learner.group)
    check()
    return learner.group.on_main(lambda: _publish(learner, test, rows))


def _publish(learner: Learner, test: dict[str, float] | None, rows: Rows) -> float:
    published = records.read(learner.directory)
    if published is not None:  # by another process: its weights are those that its result names
        return published.top1
    with learner.as_tested():
        facts = {"dataset": learner.spec.dataset.name}
        save_weights(learner.student, learner.directory / WEIGHTS, facts)
        if learner.has_own_head:
            save_weights(learner.distiller, learner.directory / HEAD)
    learner.progressed()
    checkpoint.write_history(learner)
    _write_predictions(learner, rows)
    learner.progressed()
    content = record(learner, test)
    records.publish(learner.directory, content)
    return content.top1


def _write_predictions(learner: Learner, rows: Rows) -> None:
    """The predictions, unless they are not wanted, and the measures computed from them."""
    used, data = learner.teacher, learner.data
    teacher = MeasuredTeacher(name=used.name, sha256=used.sha256) if used else None
    found = assembled(rows, data, learner.spec.dataset.name, learner.id)
    taught = taught_by(teacher, learner.teacher_predictions, data.fingerprint)
    predictions.write(learner.directory, found, learner.predictions != "none", taught)


def record(learner: Learner, test: dict[str, float] | None) -> Record:
    """The record of a learner whose weights are already in its directory.

    ``test``: scores on the test set, if the epochs were scored on a validation part.
    """
    extra = sum(p.numel() for p in learner.distiller.parameters())
    rate = learner.samples_seen / max(learner.seconds, 1e-9)
    code_warnings = provenance.code_warnings([Start.model_validate(s) for s in learner.starts])
    content = {
        "format": 1,
        "run": learner.id,
        "spec": learner.spec.dump(),
        "accuracy": _accuracy(learner, test),
        "teacher": learner.teacher,
        "source": _source(learner),
        "parameters": {
            "student": sum(p.numel() for p in learner.student.parameters()),
            "extra": extra,
            "extra_at_test": extra if learner.has_own_head else 0,
        },
        "weights": {"file": WEIGHTS, "sha256": sha256(learner.directory / WEIGHTS)},
        "seconds": round(learner.seconds, 2),
        "images_per_second": round(rate, 2),
        "peak_memory_bytes": numerics.peak_memory(learner.device),
        "steps": learner.steps_taken,
        "schedule": {
            "epochs": learner.recipe.epochs,
            "initial_epochs": sum(stage == "initial" for stage, _ in learner.coordinates),
            "views": 1 + len(learner.distiller.needs.views),
        },
        "data": {"sha256": learner.data.fingerprint},
        "warnings": list(dict.fromkeys([*learner.warnings, *code_warnings])),
        "starts": learner.starts,
    }
    return Record.model_validate(content)


def _source(learner: Learner) -> dict[str, str] | None:
    """The student that a probe reads."""
    if learner.spec.source is None or learner.source is None:
        return None
    return {"run": learner.spec.source.run, "sha256": sha256(learner.source)}


def _accuracy(learner: Learner, test: dict[str, float] | None) -> dict[str, Any]:
    """The last epoch's test accuracy, and the best epoch's with the split that it is best on."""
    split = learner.data.epoch_split
    rows = [row for row in learner.history if f"{split}_top1" in row]
    best = max(rows, key=lambda row: row[f"{split}_top1"])
    last = rows[-1]
    return {
        "last": {**(test or _of(last, learner.data.scored_on)), "epoch": last["epoch"]},
        "best": {"top1": best[f"{split}_top1"], "epoch": best["epoch"], "split": split},
        "validation": _of(last, "validation") if split == "validation" else None,
        "samples": learner.data.scored,
    }


def _of(row: dict[str, Any], split: str) -> dict[str, float]:
    return {key: row[f"{split}_{key}"] for key in ("top1", "top5", "loss")}
