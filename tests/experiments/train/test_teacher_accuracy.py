"""The accuracy of a teacher is measured once for the same weights, data and numerics."""

from __future__ import annotations

import pytest
import torch

from experiments.matrix.recipe import Recipe
from experiments.memo import Memo
from experiments.train import networks, teachers
from tests.experiments import tiny

CPU = torch.device("cpu")


@pytest.fixture
def measured(monkeypatch) -> list[int]:
    """Gets an entry for every evaluation that really takes place."""
    calls: list[int] = []
    real = networks.evaluate

    def counted(*arguments, **named):
        calls.append(1)
        return real(*arguments, **named)

    monkeypatch.setattr(networks, "evaluate", counted)
    return calls


def ask(memo: Memo, sha256: str = "ab", recipe: Recipe = tiny.RECIPE, epochs: int = 3) -> float:
    source = tiny.data(epochs)
    module = tiny.teacher(source).module
    loaded = teachers.Network(module, None, ())
    return teachers.measure(loaded, sha256, source, recipe, CPU, memo).top1


def test_once_and_with_the_same_value(tmp_path, measured):
    direct = ask(teachers.FORGETFUL)
    first, again = ask(Memo(tmp_path)), ask(Memo(tmp_path))
    assert direct == first == again == round(first, 4)
    assert len(measured) == 2  # one of them without a memory


@pytest.mark.parametrize(
    "change", [{"sha256": "cd"}, {"recipe": tiny.RECIPE.model_copy(update={"precision": "bf16"})}]
)
def test_other_weights_and_numerics_are_measured_again(tmp_path, measured, change):
    ask(Memo(tmp_path))
    ask(Memo(tmp_path), **change)
    assert len(measured) == 2


def test_other_data_are_measured_again(tmp_path, measured, monkeypatch):
    ask(Memo(tmp_path))
    monkeypatch.setitem(tiny.OPTIONS, "test_size", 48)
    ask(Memo(tmp_path))
    assert len(measured) == 2


def test_what_does_not_matter_does_not_count(tmp_path, measured):
    ask(Memo(tmp_path))
    ask(Memo(tmp_path), recipe=tiny.RECIPE.model_copy(update={"lr": 0.2}))
    assert len(measured) == 1


def test_a_plugin_may_have_brought_the_network(tmp_path, measured, monkeypatch):
    ask(Memo(tmp_path))
    monkeypatch.setattr(teachers.plugins, "digests", lambda: ["ab"])
    ask(Memo(tmp_path))
    assert len(measured) == 2


def test_other_code_measures_again(tmp_path, measured, monkeypatch):
    for digest in ("one", "two", "two"):
        monkeypatch.setattr(teachers, "code_digest", lambda *_, digest=digest: digest)
        ask(Memo(tmp_path))
    assert len(measured) == 2
