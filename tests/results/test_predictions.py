"""The files of predictions and measures: what goes in comes out, in as few bytes as promised."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open

from results import measures, predictions, schema
from results.measures import per_image
from results.predictions import Header
from results.schema import MeasuredTeacher
from tests.results.example import record

N, C = 300, 10
HEADER = Header(form="full", run="0123456789", dataset="fake", data="f" * 64, classes=C)
SMALL = HEADER.model_copy(update={"form": "compact"})


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(N, C)).astype(np.float32) * 4


@pytest.fixture
def labels(logits) -> np.ndarray:
    """Right for half of the images."""
    return np.where(np.arange(N) % 2, logits.argmax(1), np.arange(N) % C)


def full(logits, labels):
    return predictions.full(predictions.halved(logits, logits.argmax(1)), labels, HEADER)


def compact(logits, labels):
    return predictions.compact(per_image(logits, labels), SMALL)


# ---- forms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [full, compact])
def test_a_file_is_read_as_it_was_written(form, logits, labels, tmp_path):
    found = form(logits, labels)
    path = tmp_path / predictions.FILE
    path.write_bytes(predictions.encode(found))
    again = predictions.read(path)
    assert again is not None and again.header == found.header
    for name in measures.COLUMNS:
        assert np.array_equal(getattr(again.images, name), getattr(found.images, name))
    assert predictions.encode(again) == path.read_bytes()
    assert path.stat().st_size - predictions.size(found.header.form, N, C) < 1000
    assert predictions.measured(again) == predictions.measured(found)


def test_names_types_and_metadata_of_the_tensors(logits, labels, tmp_path):
    for form, names in ((full, {"labels", "logits"}), (compact, set(measures.COLUMNS))):
        path = tmp_path / form.__name__
        path.write_bytes(predictions.encode(form(logits, labels)))
        with safe_open(path, "numpy") as file:
            assert set(file.keys()) == names
            kinds = {name: str(file.get_tensor(name).dtype) for name in names}
            header = json.loads(file.metadata()["predictions"])
        assert header["format"] == 1 and header["run"] == HEADER.run
        assert (header["form"], header["data"]) == (form.__name__, "f" * 64)
        whole = {"labels", "predicted", "rank_of_label"}
        expected = {n: "int32" if n in whole else "float32" for n in names} | {"logits": "float16"}
        assert kinds == {name: expected[name] for name in names}


def test_which_form_is_stored():
    assert predictions.form_of("auto", 10_000, 100) == "full"
    assert predictions.form_of("auto", 50_000, 1000) == "compact"
    assert predictions.form_of("full", 50_000, 1000) == "full"
    assert predictions.form_of("compact", 10, 10) == "compact"
    assert predictions.size("auto", 10_000, 100) == 2_040_000
    assert predictions.size("auto", 50_000, 1000) == 1_200_000
    assert predictions.size("none", 10_000, 100) == 0


def test_both_forms_agree(logits, labels):
    one, other = (predictions.measured(form(logits, labels)) for form in (full, compact))
    assert (one.top1, one.correct, one.per_class) == (other.top1, other.correct, other.per_class)
    for name in ("top5", "nll", "ece", "ece_adaptive", "brier"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), abs=0.02)
    exact = per_image(logits, labels)
    assert other.nll == pytest.approx(measures.nll(exact), abs=1e-6)
    assert other.brier == pytest.approx(measures.brier(exact), abs=1e-6)
    assert other.ece == pytest.approx(measures.ece(exact), abs=1e-4)


@pytest.mark.parametrize(
    "data", [b"", b"half", b"\xff" * 100, b"\x02\0\0\0\0\0\0\0{}"], ids=["0", "4", "ff", "bare"]
)
def test_what_is_no_such_file_is_none(data, tmp_path):
    (tmp_path / predictions.FILE).write_bytes(data)
    assert predictions.read(tmp_path / predictions.FILE) is None
    assert predictions.read(tmp_path / "not there") is None


def test_a_cut_file_is_none(logits, labels):
    data = predictions.encode(full(logits, labels))
    assert predictions.decode(data[:-1]) is None
    wrong = replace(full(logits, labels), logits=np.zeros((N, C - 1), np.float16))
    assert predictions.decode(predictions.encode(wrong)) is None


# ---- float16 -------------------------------------------------------------------------------------


def test_rounding_to_float16_keeps_every_prediction():
    """Differences far below float16's resolution, in either direction."""
    draw = np.random.default_rng(2)
    logits = 30 + draw.normal(size=(2000, C)).astype(np.float32) * 1e-3
    predicted = logits.argmax(1)
    assert (logits.astype(np.float16).argmax(1) != predicted).mean() > 0.3  # why it is needed
    halves = predictions.halved(logits, predicted)
    assert np.array_equal(halves.argmax(1), predicted)
    assert np.abs(halves.astype(np.float32) - logits).max() <= 2 * np.spacing(np.float16(30))


def test_any_of_equal_maxima_may_have_been_predicted():
    logits = np.zeros((C, C), np.float32)
    for kind in (np.float16, np.float32):
        found = predictions.unambiguous(logits.astype(kind), np.arange(C))
        assert np.array_equal(found.argmax(1), np.arange(C))


def test_what_is_beyond_float16_is_clamped():
    logits = np.array([[1e5, 2e5, -1e6], [np.inf, 0, -np.inf], [7e4, 65504, 7e4]], np.float32)
    predicted = np.array([1, 0, 2])
    halves = predictions.halved(logits, predicted)
    assert np.isfinite(halves).all()
    assert np.array_equal(halves.argmax(1), predicted)
    assert halves[0, 2] == -65504 and halves[0, 0] > 65000


def test_undefined_logits_are_no_wrong_measures(labels, logits):
    logits[3] = np.nan
    predicted = logits.argmax(1)
    predicted[3] = 5  # torch may choose any of them
    found = predictions.full(predictions.halved(logits, predicted), labels, HEADER)
    assert np.array_equal(found.images.predicted, predicted)
    result = predictions.measured(found)
    assert (result.nll, result.brier, result.ece) == (None, None, None)
    assert result.top1 == 100 * (predicted == labels).mean()


# ---- measures ------------------------------------------------------------------------------------


def test_measures_beside_a_teacher(logits, labels, tmp_path):
    used = MeasuredTeacher(name="resnet56", sha256="ab")
    teacher = full(logits[::-1].copy(), labels)
    written = predictions.write(tmp_path, full(logits, labels), True, (used, teacher))
    assert predictions.read_measures(tmp_path) == written
    assert written.teacher == used
    pair = [predictions.halved(x, x.argmax(1)) for x in (logits[::-1], logits)]
    assert written.kl == pytest.approx(measures.kl(*pair), abs=1e-12)
    assert written.agreement == 100 * (logits.argmax(1) == logits[::-1].argmax(1)).mean()
    data = (tmp_path / predictions.FILE).read_bytes()
    assert written.predictions.sha256 == predictions.sha256(data)
    assert np.array_equal(predictions.correct_of(written), logits.argmax(1) == labels)


def test_what_cannot_be_had_is_null(logits, labels, tmp_path):
    used = MeasuredTeacher(name="resnet56", sha256="ab")
    small, large = compact(logits, labels), full(logits, labels)
    assert predictions.measured(small, None, (used, large)).kl is None
    assert predictions.measured(large, None, (used, small)).kl is None
    assert predictions.measured(small, None, (used, large)).agreement == 100
    alone = predictions.write(tmp_path, large, store=False)
    assert (alone.agreement, alone.kl, alone.teacher, alone.predictions) == (None,) * 4
    assert not (tmp_path / predictions.FILE).exists()


def test_a_teacher_of_other_images_is_refused(logits, labels):
    other = full(logits, labels[::-1])
    with pytest.raises(ValueError, match="the predictions of T are of other images"):
        predictions.measured(full(logits, labels), None, (MeasuredTeacher(name="T"), other))


def test_very_many_images_have_no_bits(logits, labels, monkeypatch):
    monkeypatch.setattr(predictions, "MOST_CORRECT", N - 1)
    found = predictions.measured(full(logits, labels))
    assert found.correct is None and predictions.correct_of(found) is None


def test_a_record_has_measures_only_if_a_reader_put_them_there(logits, labels, tmp_path):
    plain = record(70.0)
    assert plain.measures is None and "measures" not in plain.model_dump(exclude_unset=True)
    found = predictions.measured(full(logits, labels))
    line = plain.model_copy(update={"measures": found}).model_dump_json(exclude_unset=True)
    assert schema.parse(line.encode()).measures == found


def test_broken_measures_are_none(tmp_path):
    assert predictions.read_measures(tmp_path) is None
    (tmp_path / predictions.MEASURES).write_text('{"format": 1, "run"')
    assert predictions.read_measures(tmp_path) is None
