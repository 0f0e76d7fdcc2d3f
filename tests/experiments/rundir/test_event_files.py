"""A history as event files: which curves it has, and that each epoch is there once."""

from __future__ import annotations

import sys
import threading

import pytest

from experiments.errors import InputError
from experiments.rundir import event_files
from experiments.rundir.event_files import EventFile
from tests.experiments import events

HISTORY = (
    "stage,epoch,lr,train_top1,train_loss,ce,gk_dfd.gc,test_top1,test_top5,test_loss\n"
    "initial,1,0.1,,2.5,,,,,\n"
    "main,1,0.05,20.5,2.25,2.0,0.25,,,\n"
    "main,2,0.04,30.5,1.25,1.0,0.25,25.0,75.0,1.5\n"
)
CURVES = {
    "initial/lr": {1: 0.1},
    "initial/loss/train": {1: 2.5},
    "lr": {1: 0.05, 2: 0.04},
    "accuracy/train_top1": {1: 20.5, 2: 30.5},
    "loss/train": {1: 2.25, 2: 1.25},
    "loss/ce": {1: 2.0, 2: 1.0},
    "loss/gk_dfd.gc": {1: 0.25, 2: 0.25},
    "accuracy/test_top1": {2: 25.0},
    "accuracy/test_top5": {2: 75.0},
    "loss/test": {2: 1.5},
}


def approximately(curves):
    return {tag: pytest.approx(points) for tag, points in curves.items()}


def test_every_column_has_its_curve():
    found: dict[str, dict[int, float]] = {}
    for row in event_files.rows(HISTORY):
        for tag, value in event_files.scalars(row):
            found.setdefault(tag, {})[int(row["epoch"])] = value
    assert found == CURVES


def test_scores_of_a_hold_out_and_terms_with_names_like_parts():
    row = {"stage": "main", "epoch": 1, "validation_top1": 9.0, "validation_loss": 3.0}
    row |= {"test_time": 2.0, "seconds": 5.0, "note": "none", "kd": None}
    assert dict(event_files.scalars(row)) == {
        "accuracy/validation_top1": 9.0,
        "loss/validation": 3.0,
        "loss/test_time": 2.0,
    }


def test_a_history_is_read_back(tmp_path):
    event_files.write(tmp_path / "run", "student: resnet8\nrecipe:\n  lr: 0.05\n", HISTORY)
    assert events.curves(tmp_path / "run") == approximately(CURVES)
    assert events.text(tmp_path / "run") == "    student: resnet8\n    recipe:\n      lr: 0.05"


def test_written_again_it_takes_the_place_of_what_was_there(tmp_path):
    event_files.write(tmp_path, "", HISTORY)
    (first,) = events.files(tmp_path)
    event_files.write(tmp_path, "", HISTORY)
    (second,) = events.files(tmp_path)
    assert first != second
    assert events.curves(tmp_path) == approximately(CURVES)


def test_a_reader_that_has_seen_an_earlier_file_shows_one_curve(tmp_path):
    """As TensorBoard does that runs meanwhile: it reads on in the next file."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    EventFile(tmp_path, "", event_files.rows(HISTORY)).close()
    shown = reader.EventAccumulator(str(tmp_path)).Reload()
    (earlier,) = events.files(tmp_path)
    content = earlier.read_bytes()
    EventFile(tmp_path, "", event_files.rows(HISTORY)).close()
    assert not earlier.exists()
    earlier.write_bytes(content)  # a crash just before it was removed leaves both
    shown.Reload()
    assert [event.step for event in shown.Scalars("loss/train")] == [1, 2]
    assert events.curves(tmp_path) == approximately(CURVES)


def test_a_line_that_was_cut_is_left_out(tmp_path):
    event_files.write(tmp_path, "", HISTORY + "main,\nmai")
    assert events.curves(tmp_path) == approximately(CURVES)


def test_an_error_of_the_writers_thread_is_raised_here_and_printed_by_nobody(tmp_path, monkeypatch):
    writer = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    said: list[object] = []
    monkeypatch.setattr(threading, "excepthook", said.append)

    def full(self, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer.RecordWriter, "write", full)
    with event_files.errors_once():
        with pytest.raises(OSError, match="No space"):
            event_files.write(tmp_path / "run", "", HISTORY)
        assert said == []
        other = threading.Thread(target=lambda: 1 / 0)
        other.start()
        other.join()
        assert len(said) == 1
    assert threading.excepthook == said.append and not (tmp_path / "run").exists()


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"--tensorboard: .*pip install tensorboard$"):
        event_files.require()


def test_what_is_no_epoch_is_left_out():
    header = "stage,epoch,lr\n"
    text = f"{header}main,1,0.1\nmain,{10**30},0.1\nmain,x,0.1\nmain\n"
    assert [row["epoch"] for row in event_files.rows(text)] == ["1"]
    with pytest.raises(ValueError, match="no table: field larger"):
        event_files.rows("x" * 200_000)
    assert [tag for tag, _ in event_files.scalars({"\ud800": "1"})] == ["loss/?"]
