"""What runs will take: the parts of a prediction, and where each comes from."""

from __future__ import annotations

import pytest
import torch

import datasets
import distillers
from datasets import Data, Stream
from experiments.matrix.recipe import Recipe
from experiments.plan import cost, timing
from experiments.plan.cost import predict_cost
from experiments.plan.data_sets import DataSets
from experiments.rundir.status import State, Status
from tests.experiments.cli import expansion
from tests.results.example import record

TRAIN, TEST, EPOCHS = 64, 32, 4
TRAINING, FORWARD, METHOD, DRAWING = 1.0, 0.25, 0.125, 0.0625  # seconds per image, made up


@pytest.fixture
def clocks(monkeypatch) -> None:
    """Every part of a step takes what is stated above."""
    for name, value in (("training", TRAINING), ("forward", FORWARD), ("batches", DRAWING)):
        monkeypatch.setattr(timing.Stopwatch, name, lambda self, *_, value=value: value)
    monkeypatch.setattr(timing.Stopwatch, "method", lambda self, spec: METHOD)


def data(**changes: object) -> Data:
    options = {"num_classes": 4, "image_size": 16, "train_size": TRAIN, "test_size": TEST}
    return datasets.build("fake", batch_size=32, epochs=EPOCHS, **(options | changes))


def todo(*methods: object, recipe: dict | None = None) -> list[Status]:
    recipe = {"epochs": EPOCHS, "batch_size": 32, "schedule": "cosine", **(recipe or {})}
    found = expansion(methods=list(methods), trials=1, recipe=recipe)
    return [Status(entry.spec, State.TODO) for entry in found.entries]


def predicted(statuses: list[Status], **changes: object) -> list[float]:
    found = predict_cost(statuses, DataSets.of_one(data()), "cpu", **changes)
    return [found.of[status.spec.id] for status in statuses]


TESTS = EPOCHS * TEST * FORWARD
ALONE = EPOCHS * TRAIN * (TRAINING + METHOD + DRAWING) + TESTS + cost.START_SECONDS


@pytest.mark.usefixtures("clocks")
def test_a_run_without_a_teacher():
    assert predicted(todo("vanilla")) == [ALONE]


@pytest.mark.usefixtures("clocks")
def test_a_teachers_pass_and_first_test():
    expected = ALONE + (EPOCHS * TRAIN + TEST) * FORWARD
    assert predicted(todo("kd")) == [expected]


@pytest.mark.usefixtures("clocks")
@pytest.mark.parametrize(("limit", "members"), [(None, 4), (2, 2), (1, 1)])
def test_runs_of_one_cohort_share(limit, members):
    """Drawing, the teacher's pass and the start; the teacher is tested once, for all four."""
    statuses = todo("kd", "at", "fitnet", "dkd")
    own = EPOCHS * TRAIN * (TRAINING + METHOD) + TESTS
    shared = EPOCHS * TRAIN * (FORWARD + DRAWING) + cost.START_SECONDS
    expected = own + shared / members + TEST * FORWARD / 4
    assert predicted(statuses, cohort_size=limit) == pytest.approx(4 * [expected])


@pytest.mark.usefixtures("clocks")
def test_tests_are_as_rare_as_the_recipe_says():
    rare = predicted(todo("vanilla", recipe={"eval_every": 3}))
    assert rare == [ALONE - TESTS + 2 * TEST * FORWARD]  # after epochs 3 and 4


@pytest.mark.usefixtures("clocks")
def test_a_second_view_is_a_second_pass(monkeypatch):
    (kd,), (mlkd,) = predicted(todo("kd")), predicted(todo("mlkd"))
    assert mlkd - kd == pytest.approx(EPOCHS * TRAIN * (TRAINING + FORWARD))


@pytest.mark.usefixtures("clocks")
def test_an_initial_stage_comes_on_top():
    (fitnet,), (fsp,) = predicted(todo("fitnet")), predicted(todo("fsp"))
    epochs = distillers.defaults("fsp")
    assert fsp > fitnet, epochs
    per_epoch = TRAIN * (TRAINING + METHOD + DRAWING + FORWARD)
    assert (fsp - fitnet) / per_epoch == pytest.approx(round((fsp - fitnet) / per_epoch))


@pytest.mark.usefixtures("clocks")
def test_what_is_saved_is_not_done_again():
    (status,) = todo("vanilla")
    half = Status(status.spec, State.TODO, epoch=EPOCHS // 2)
    assert predicted([half]) == [(ALONE - cost.START_SECONDS) / 2 + cost.START_SECONDS]


def test_what_is_on_record_wins(monkeypatch):
    monkeypatch.setattr(timing.Stopwatch, "_time", lambda *_: pytest.fail("timed"))
    done, again = todo("vanilla", {"name": "vanilla", "label": "b", "options": {"ce": 2.0}})
    stored = record(70.0, images_per_second=16.0, run=done.spec.id, spec=done.spec.dump())
    (start,) = stored.starts
    here = start.model_copy(update={"device": "cpu (a processor, 1 threads)"})
    stored = stored.model_copy(update={"starts": (here,)})
    statuses = [Status(done.spec, State.DONE, record=stored), again]
    found = predict_cost(statuses, DataSets.of_one(data()), "cpu", timed=False).of
    assert found == {again.spec.id: EPOCHS * TRAIN / 16.0 + cost.START_SECONDS}


GPUS = {"NVIDIA A100-SXM4-40GB": 32.0, "NVIDIA H100 80GB HBM3": 64.0, "Tesla V100": 8.0}


@pytest.mark.parametrize(
    ("gpu", "rate", "sources"),
    [
        (None, 8.0, tuple(GPUS)),
        ("a100", 32.0, ("NVIDIA A100-SXM4-40GB",)),
        ("h100", 64.0, ("NVIDIA H100 80GB HBM3",)),
        ("a100-sxm4-40gb", 32.0, ("NVIDIA A100-SXM4-40GB",)),
        ("a40", None, ()),
    ],
)
def test_times_are_those_of_the_type_of_gpu_or_of_the_slowest(gpu, rate, sources):
    entries = [{"name": "vanilla", "label": str(i), "options": {"ce": 2.0 + i}} for i in range(4)]
    *done, again = todo(*entries)
    statuses = [again]
    for status, (name, speed) in zip(done, GPUS.items(), strict=True):
        spec = status.spec
        stored = record(70.0, images_per_second=speed, run=spec.id, spec=spec.dump())
        start = stored.starts[0].model_copy(update={"device": name})
        stored = stored.model_copy(update={"starts": (start,)})
        statuses.append(Status(spec, State.DONE, record=stored))
    found = predict_cost(statuses, DataSets.of_one(data()), "cuda", timed=False, gpu=gpu)
    seconds = EPOCHS * TRAIN / rate + cost.START_SECONDS if rate else None
    assert found.of == {again.spec.id: seconds}
    assert found.gpus == sources


def test_nothing_on_record_and_nothing_timed():
    assert predict_cost(todo("kd"), DataSets.of_one(data()), "cpu", timed=False).seconds is None


@pytest.mark.parametrize("method", ["vanilla", "kd", "crd", "mlkd", "ab", "simkd", "tf_nkd"])
def test_every_kind_of_method_can_be_timed(method):
    (seconds,) = predicted(todo(method))
    assert 0 < seconds < 60


def test_a_stopwatch_measures_once_and_leaves_the_generators_alone():
    watch = timing.Stopwatch(data(), torch.device("cpu"))
    recipe = Recipe(batch_size=32)
    before = torch.get_rng_state()
    first = watch.training("resnet8", recipe)
    assert watch.training("resnet8", recipe) == first
    assert watch.forward("resnet8", recipe) < first
    assert watch.batches(Stream(), recipe) > 0
    assert torch.equal(torch.get_rng_state(), before)


def test_the_disk_that_predictions_take():
    found, source = (
        predict_cost(todo("kd", "at"), DataSets.of_one(data()), "cpu", timed=False),
        data(),
    )
    of_run = TEST * (2 * 4 + 4)  # four logits in float16 and a label for each image
    assert cost.predictions_bytes(found, source, "auto") == 2 * of_run
    assert cost.predictions_bytes(found, source, "compact") == 2 * TEST * 24
    assert cost.predictions_bytes(found, source, "none") == 0


@pytest.mark.usefixtures("clocks")
@pytest.mark.parametrize(
    ("changes", "images", "tests"),
    [
        ({"recipe": {"epochs": 2 * EPOCHS}}, 2 * EPOCHS * TRAIN, 2 * EPOCHS * TEST),
        ({"dataset": {"subset": 16}}, EPOCHS * 16, EPOCHS * TEST),
        ({"dataset": {"test_size": 8}}, EPOCHS * TRAIN, EPOCHS * 8),
    ],
)
def test_a_recipe_and_data_of_an_entry_count(changes, images, tests, tmp_path):
    (status,) = todo({"name": "vanilla", **changes})
    found = predict_cost([status], DataSets(tmp_path), "cpu").of[status.spec.id]
    expected = images * (TRAINING + METHOD + DRAWING) + tests * FORWARD
    assert found == pytest.approx(expected + cost.START_SECONDS)


@pytest.mark.usefixtures("clocks")
def test_runs_on_different_parts_share_no_cohort(tmp_path):
    sweep = {"dataset.subset": [16, 32], "kd_temperature": [1, 2]}
    statuses = todo({"name": "kd", "sweep": sweep})
    whole = predict_cost(statuses, DataSets(tmp_path), "cpu")
    pairs = [predict_cost(statuses[i : i + 2], DataSets(tmp_path), "cpu") for i in (0, 2)]
    of = {run: seconds for pair in pairs for run, seconds in pair.of.items()}
    assert whole.of == {status.spec.id: of[status.spec.id] for status in statuses}
    assert whole.steps == sum(pair.steps for pair in pairs) == 2 * EPOCHS * (1 + 1)


def test_images_of_one_size_are_timed_once(monkeypatch, tmp_path):
    timed = []
    monkeypatch.setattr(timing.Stopwatch, "_time", lambda *a, **b: timed.append(a[2]) or 1e-3)
    sweep = {"dataset.subset": [16, 32, 48], "recipe.epochs": [2, 3]}
    predict_cost(todo({"name": "vanilla", "sweep": sweep}), DataSets(tmp_path), "cpu")
    several, timed[:] = len(timed), []
    predict_cost(todo("vanilla"), DataSets(tmp_path), "cpu")
    assert several == len(timed) > 0


def test_a_record_of_images_of_another_size_tells_nothing(tmp_path):
    done, again = todo({"name": "vanilla", "sweep": {"dataset.image_size": [16, 24]}})
    stored = record(70.0, images_per_second=16.0, run=done.spec.id, spec=done.spec.dump())
    statuses = [Status(done.spec, State.DONE, record=stored), again]
    found = predict_cost(statuses, DataSets(tmp_path), "cpu", timed=False).of
    assert found == {again.spec.id: None}
