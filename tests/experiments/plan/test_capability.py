"""Which methods can serve which pairs, and how little is computed to find out."""

from __future__ import annotations

from collections import Counter

import pytest

import datasets
import distillers
from distillers import Distiller, Unsupported, register
from distillers.fitnet import FitNet
from experiments.errors import InputError
from experiments.memo import Memo
from experiments.plan import kinds
from experiments.plan.capability import Capabilities
from experiments.plan.data_sets import DataSets
from experiments.plan.kinds import remembered
from experiments.plan.plan import prepare
from experiments.plan.workspace import Workspace
from experiments.rundir.status import State
from models.staged import StagedClassifier
from results import records
from tests.experiments import cli
from tests.experiments.cli import expansion
from tests.results.example import record

PAIRS = ["resnet14 -> resnet8", "wrn_16_1 -> vgg8", "resnet14 -> MobileNetV2"]


def capabilities(train_size: int = 64) -> Capabilities:
    info = datasets.build("fake", image_size=32, train_size=train_size).info
    return Capabilities(lambda spec: info)


def test_they_say_who_cannot_be_served(monkeypatch):
    def refuse(self, student, teacher, info):
        raise Unsupported("fitnet needs wings")

    monkeypatch.setattr(FitNet, "setup", refuse)
    found = expansion()
    expected = {e.spec.id for e in found.entries if e.spec.method == "fitnet"}
    assert capabilities().reasons(found.runs) == dict.fromkeys(expected, "fitnet needs wings")


def test_they_report_a_method_that_cannot_be_built(monkeypatch):
    def fail(self, student, teacher, info):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(FitNet, "setup", fail)
    with pytest.raises(InputError) as caught:
        capabilities().reasons(expansion().runs)
    assert str(caught.value) == ("resnet14 -> resnet8, fitnet: ZeroDivisionError: division by zero")


def test_an_optimiser_that_a_method_refuses_is_found_before_training():
    specs = expansion(methods=["dot+kd"], recipe={"optimizer": "adamw"}).runs
    with pytest.raises(InputError, match=r"dot\+kd.*optimiser AdamW: expected plain SGD"):
        capabilities().reasons(specs)


@pytest.mark.parametrize("method", distillers.names())
def test_shapes_alone_tell_what_the_networks_tell(monkeypatch, method):
    """For every built-in method and preset; the networks themselves are not even needed."""
    presets = [None, *distillers.find(method).presets]
    methods = [{"name": method, "preset": preset, "label": f"{preset}"} for preset in presets]
    specs = [e.spec for e in expansion(methods=methods, pairs=PAIRS, trials=1).entries]
    asked = capabilities()
    truth = {spec.id: asked._refusal_of_real(spec) for spec in specs}
    monkeypatch.setattr(Capabilities, "_refusal_of_real", lambda self, spec: pytest.fail("built"))
    assert asked.reasons(specs) == {run: why for run, why in truth.items() if why is not None}


def test_a_method_that_reads_numbers_is_built_on_the_networks(own_registry):
    @register("picky", title="Picky")
    class Picky(Distiller):
        def setup(self, student, teacher, info):
            spread = float(self.probe(teacher).logits.std())
            raise Unsupported(f"the teacher's logits spread {'not' if spread == 0 else 'well'}")

        def loss(self, student, teacher, batch):
            return student.logits.mean()

    found = expansion(methods=["picky"], trials=1).entries[0].spec
    assert capabilities().reasons([found]) == {found.id: "the teacher's logits spread well"}


def test_nothing_is_done_twice(monkeypatch):
    """Builds grow with kinds of runs, forward passes with networks; never with trials."""
    built: Counter[str] = Counter()
    seen: Counter[tuple[str, bool]] = Counter()
    setup, outputs = Distiller.__init__, StagedClassifier.outputs

    def counted_setup(self, *arguments):
        built[self.name] += 1
        setup(self, *arguments)

    def counted_outputs(self, x, preacts=False, blocks=False):
        seen[self.name, blocks] += 1
        return outputs(self, x, preacts, blocks)

    monkeypatch.setattr(Distiller, "__init__", counted_setup)
    monkeypatch.setattr(StagedClassifier, "outputs", counted_outputs)
    sweep = [{"name": "kd", "label": f"{w}", "options": {"ce": w}} for w in (1.0, 0.5, 0.1)]
    pairs = ["resnet14 -> resnet8", "resnet20 -> resnet8"]
    found = expansion(methods=["vanilla", "fitnet", "irg", *sweep], pairs=pairs, trials=5)
    asked = capabilities()
    for _ in range(2):
        assert asked.reasons(found.runs) == {}
    assert len(found.runs) == 5 * (1 + 2 * 5) + 2
    # vanilla: the student that both pairs share, and the two teachers
    assert built == {"vanilla": 3, "fitnet": 2, "irg": 2, "kd": 6}
    assert set(seen.values()) == {1}


def test_a_bank_over_the_training_set_has_no_memory_behind_it(monkeypatch):
    devices = []
    setup = Distiller.__init__

    def watched(self, *arguments):
        setup(self, *arguments)
        devices.append(self.memory_student.device.type)

    monkeypatch.setattr(Distiller, "__init__", watched)
    specs = [e.spec for e in expansion(methods=["crd"], trials=1).entries]
    assert capabilities().reasons(specs) == {}
    assert devices == ["meta"]


def test_random_numbers_are_left_alone():
    import torch

    torch.manual_seed(7)
    before = torch.get_rng_state()
    capabilities().reasons(expansion(methods=["crd", "fitnet"]).runs)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("strict", "expected"),
    [(True, [("kd", 1), ("at", 0), ("at", 1)]), (False, [("at", 1)])],
)
def test_what_is_done_proves_that_its_like_can_be(tmp_path, monkeypatch, strict, expected):
    """But before a training every method is built: it may not be any more what it was.

    To look at results one of each kind is asked about, and never again.
    """
    path = cli.write(tmp_path, methods=["kd", "at"], trials=2)
    plan = prepare(str(path), Workspace(tmp_path / "runs", tmp_path, "cpu"), strict=strict)
    for run in (*plan.expansion.teachers, plan.expansion.entries[0].spec):
        directory = run.directory(tmp_path / "runs")
        directory.mkdir(parents=True)
        records.publish(directory, record(70.5, run=run.id, spec=run.dump()))
    asked = []
    monkeypatch.setattr(Capabilities, "reasons", lambda self, specs: asked.extend(specs) or {})
    plan.statuses()
    assert [(spec.method, spec.trial) for spec in asked] == expected
    if not strict:
        plan.statuses()
        assert len(asked) == len(expected)


@pytest.mark.parametrize("name", ["fitnet", "vitkd", "simkd", "ofd"])
def test_remembered_verdicts_are_the_computed_ones(tmp_path, name):
    methods = [{"name": name, "preset": p, "label": f"{p}"} for p in (None, *presets(name))]
    specs = [e.spec for e in expansion(methods=methods, pairs=PAIRS, trials=1).entries]
    asked = capabilities()
    expected = asked.reasons(specs)
    memo = Memo(tmp_path)
    assert remembered(specs, memo, tmp_path, lambda: asked) == expected
    assert remembered(specs, memo, tmp_path, lambda: pytest.fail("computed")) == expected


def presets(name):
    return distillers.find(name).presets


def test_other_code_is_another_memory(tmp_path, monkeypatch):
    specs = expansion(methods=["fitnet"], trials=1).runs
    memo, asked = Memo(tmp_path), []
    for digest in ("one", "two", "two"):
        monkeypatch.setattr(kinds, "code_digest", lambda *_, digest=digest: digest)
        remembered(specs, memo, tmp_path, lambda: asked.append(1) or capabilities())
    assert len(asked) == 2


def test_where_all_is_done_no_data_is_read(finished, monkeypatch):
    monkeypatch.setattr(DataSets, "of", lambda *arguments: pytest.fail("read"))
    path = finished / "matrix.yaml"
    found = prepare(str(path), Workspace(finished / "runs", finished, "cpu"), strict=False)
    assert {status.state for status in found.statuses().values()} == {State.DONE}
