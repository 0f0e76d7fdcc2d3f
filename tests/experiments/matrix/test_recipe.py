from __future__ import annotations

import itertools

import pytest
import torch
from pydantic import ValidationError

from experiments.matrix.recipe import Recipe, differences

STEPS = 782


@pytest.mark.parametrize(
    ("epoch", "drops"),
    [(1, 0), (150, 0), (151, 1), (180, 1), (181, 2), (210, 2), (211, 3), (240, 3)],
)
def test_step_drops_at_the_start_of_the_epoch_after_a_milestone(epoch, drops):
    for step in (0, STEPS - 1):
        assert Recipe().rate(epoch, step, STEPS) == pytest.approx(0.05 * 0.1**drops)


def test_cosine_goes_from_the_rate_to_zero_without_a_jump():
    recipe = Recipe(epochs=10, schedule="cosine", lr=0.2)
    rates = [recipe.rate(e, s, 50) for e in range(1, 11) for s in range(50)]
    assert rates[0] == 0.2
    assert rates[250] == pytest.approx(0.1)
    assert 0 < rates[-1] < 0.2 * 1e-4
    assert all(a > b for a, b in itertools.pairwise(rates))


@pytest.mark.parametrize("schedule", ["step", "cosine"])
def test_warm_up_rises_linearly_to_the_rate(schedule):
    recipe = Recipe(epochs=10, schedule=schedule, milestones=[5], warmup_epochs=2, lr=0.4)
    rates = [recipe.rate(e, s, 4) for e in (1, 2) for s in range(4)]
    assert rates == pytest.approx([0.4 * (i + 1) / 8 for i in range(8)])
    assert recipe.rate(3, 0, 4) == pytest.approx(0.4)


def test_another_base_replaces_the_rate():
    assert Recipe().rate(151, 0, STEPS, base=1.0) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epochs": 100}, "milestones [150, 180, 210] lie at or past the last epoch (100)"),
        ({"epochs": 5, "milestones": [3, 5]}, "milestones [5] lie at or past"),
        ({"milestones": [0, 10]}, "expected rising epochs from 1"),
        ({"milestones": [20, 10]}, "expected rising epochs from 1"),
        ({"epochs": 2, "schedule": "cosine", "warmup_epochs": 2}, "less than epochs"),
        ({"nesterov": True, "momentum": 0.0}, "nesterov"),
        ({"lr": 0}, "greater than 0"),
        ({"lr": float("nan")}, "finite"),
        ({"lr": True}, "valid number"),
        ({"epochs": "3"}, "valid integer"),
        ({"nesterov": 1}, "valid boolean"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields, message):
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate(fields)
    assert message in str(caught.value)


def test_milestones_may_stand_unused_beside_cosine():
    assert Recipe(epochs=2, schedule="cosine").milestones == (150, 180, 210)


def test_differences_are_what_is_not_at_its_default():
    assert differences(Recipe()) == {}
    recipe = Recipe(epochs=20, milestones=[10], lr=0.05)
    assert differences(recipe) == {"epochs": 20, "milestones": [10]}


def test_optimizer_is_sgd_over_everything():
    recipe = Recipe(lr=0.3, momentum=0.8, weight_decay=1e-3, nesterov=True)
    params = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(3))]
    (group,) = recipe.make_optimizer(params).param_groups
    assert len(group["params"]) == 2
    named = {key: group[key] for key in ("lr", "momentum", "weight_decay", "nesterov")}
    assert named == {"lr": 0.3, "momentum": 0.8, "weight_decay": 1e-3, "nesterov": True}


def test_summary_names_what_a_caption_must():
    text = Recipe(epochs=9, milestones=[3, 6], warmup_epochs=1).summary()
    assert text == (
        "9 epochs, batch 64, SGD 0.9, lr 0.05 × 0.1 after 3/6, 1 warm-up, weight decay 0.0005, fp32"
    )
    assert "lr 0.05 cosine to 0" in Recipe(schedule="cosine").summary()
    assert "lr 0.05 constant" in Recipe(milestones=[]).summary()


def test_cosine_ends_at_the_least_rate():
    recipe = Recipe(epochs=4, schedule="cosine", lr=0.1, min_lr=0.01)
    rates = [recipe.rate(e, s, 50) for e in range(1, 5) for s in range(50)]
    assert rates[100] == pytest.approx(0.055)
    assert 0.01 < rates[-1] < 0.0101
    assert recipe.rate(3, 0, 50, base=0.2) == pytest.approx(0.11)


def test_adamw_leaves_vectors_without_decay():
    recipe = Recipe(optimizer="adamw", lr=1e-3, weight_decay=0.05, decay_exempt="vectors")
    shapes = {"weight": (4, 3), "filter": (1, 3, 3, 3), "bias": (4,), "token": (1, 1, 8)}
    params = {name: torch.nn.Parameter(torch.zeros(shape)) for name, shape in shapes.items()}
    optimizer = recipe.make_optimizer(params.values())
    assert type(optimizer) is torch.optim.AdamW
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    found = {name: decays[id(p)] for name, p in params.items()}
    assert found == {"weight": 0.05, "filter": 0.05, "bias": 0.0, "token": 0.0}
    assert all(g["betas"] == (0.9, 0.999) and g["lr"] == 1e-3 for g in optimizer.param_groups)


def test_a_transformer_recipe_in_one_line():
    recipe = Recipe(
        epochs=300,
        schedule="cosine",
        optimizer="adamw",
        lr=1e-3,
        weight_decay=0.05,
        decay_exempt="vectors",
        mixup=0.8,
        cutmix=1.0,
        label_smoothing=0.1,
        clip_norm=5.0,
        min_lr=1e-5,
        ema_decay=0.999,
    )
    assert recipe.summary() == (
        "300 epochs, batch 64, AdamW 0.9/0.999, lr 0.001 cosine to 1e-05, "
        "weight decay 0.05 but on vectors, label smoothing 0.1, mixup 0.8, cutmix 1, "
        "gradient norm at most 5, average of weights 0.999, fp32"
    )
