"""Warm-ups are given in epochs of the reference schedule (240) and scale with the data set's."""

import pytest
import torch

from tests.distillers import golden
from tests.distillers.loops import build, draw, losses, outputs


@pytest.mark.parametrize("name", ["dkd", "ikl", "rld"])
@pytest.mark.parametrize(
    ("epochs", "options", "epoch", "share"),
    [
        (240, {"warmup": 20.0}, 5, 5 / 20),
        (240, {"warmup": 20.0}, 20, 1.0),
        (240, {"warmup": 20.0}, 21, 1.0),
        (24, {"warmup": 20.0}, 1, 1 / 2),  # scaled: 2 epochs of 24
        (24, {"warmup_absolute": 20}, 1, 1 / 20),
        (24, {"warmup": 0.0}, 1, 1.0),
    ],
)
def test_warm_up(name, epochs, options, epoch, share):
    student, teacher = draw((6, 7), (6, 7), scale=3)
    data, labels = golden.info(outputs(student), epochs=epochs), torch.arange(6)
    warming = build(name, student, teacher, data=data, **options)
    full = build(name, student, teacher, data=data, warmup=0.0)
    for method in (warming, full):
        method.on_epoch(1)
    early = losses(warming, student, teacher, labels, epoch)
    late = losses(full, student, teacher, labels, epoch)
    for term, value in late.items():
        torch.testing.assert_close(early[term], share * value)
