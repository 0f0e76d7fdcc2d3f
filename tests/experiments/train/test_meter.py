from __future__ import annotations

import io

import pytest
import torch

from experiments.train.meter import Diverged, Meter

CPU = torch.device("cpu")
NAN = float("nan")


def terms(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def labels(n: int) -> torch.Tensor:
    return torch.zeros(n, dtype=torch.int64)


def hits(right: int, n: int) -> torch.Tensor:
    """Logits of ``n`` samples of class 0, ``right`` of them classified so."""
    return torch.stack([torch.eye(2)[0 if i < right else 1] for i in range(n)])


def test_means_weigh_batches_by_their_size():
    meter = Meter(CPU)
    meter.update(terms(ce=1.0, kd=10.0), hits(30, 30), labels(30), 0)
    meter.update(terms(ce=4.0, kd=40.0), hits(0, 10), labels(10), 1)
    means = meter.means()
    assert means["ce"] == pytest.approx((30 * 1 + 10 * 4) / 40)
    assert means["kd"] == pytest.approx((30 * 10 + 10 * 40) / 40)
    assert means["train_loss"] == pytest.approx(means["ce"] + means["kd"])
    assert means["train_top1"] == pytest.approx(75.0)


def test_sums_do_not_lose_small_numbers():
    meter = Meter(CPU)
    meter.update(terms(ce=2.0**30), None, labels(1), 0)
    for step in range(1, 257):
        meter.update(terms(ce=2.0**-3), None, labels(1), step)
    assert meter.means()["ce"] * 257 == 2.0**30 + 32


def test_soft_labels_count_by_their_largest_class():
    meter = Meter(CPU)
    soft = torch.tensor([[0.7, 0.3], [0.2, 0.8]])
    meter.update(terms(ce=1.0), hits(2, 2), soft, 0)
    assert meter.means()["train_top1"] == 50.0


def test_terms_may_appear_late_be_absent_and_change_order():
    meter = Meter(CPU)
    meter.update(terms(ce=1.0), hits(1, 1), labels(1), 0)
    meter.update(terms(crd=6.0, ce=3.0), hits(1, 1), labels(1), 1)
    meter.update(terms(crd=2.0), hits(1, 1), labels(1), 2)
    means = meter.means()
    assert list(means) == ["train_top1", "train_loss", "ce", "crd"]
    assert means["ce"] == pytest.approx(4 / 3)
    assert means["crd"] == pytest.approx(8 / 3)


def test_a_new_epoch_starts_from_nothing():
    meter = Meter(CPU)
    meter.update(terms(ce=5.0), hits(0, 2), labels(2), 0)
    meter.reset()
    meter.update(terms(ce=1.0), hits(2, 2), labels(2), 0)
    assert meter.means() == {"train_top1": 100.0, "train_loss": 1.0, "ce": 1.0}


def test_divergence_names_step_terms_and_last_finite_values():
    meter = Meter(CPU)
    meter.update(terms(ce=1.5, at=2.5), None, labels(4), 6)
    meter.check(epoch=3)
    meter.update(terms(ce=1.25, at=float("inf")), None, labels(4), 7)
    meter.update(terms(ce=NAN, at=NAN), None, labels(4), 8)
    with pytest.raises(Diverged) as caught:
        meter.check(epoch=3)
    assert str(caught.value) == (
        "loss not finite at epoch 3, step 7: ce 1.25, at inf; last finite: ce 1.5, at 2.5"
    )


def test_the_last_finite_values_outlive_their_epoch():
    meter = Meter(CPU)
    meter.update(terms(ce=1.5), None, labels(4), 6)
    meter.reset()
    meter.update(terms(ce=NAN), None, labels(4), 0)
    with pytest.raises(Diverged, match=r"epoch 2, step 0: ce nan; last finite: ce 1\.5"):
        meter.check(epoch=2)


def test_a_term_that_is_absent_keeps_its_last_finite_value():
    meter = Meter(CPU)
    meter.update(terms(ce=1.5, at=2.5), None, labels(4), 0)
    meter.update(terms(ce=1.75), None, labels(4), 1)
    meter.update(terms(ce=NAN, late=1.0), None, labels(4), 2)
    with pytest.raises(Diverged, match=r"last finite: ce 1\.75, at 2\.5"):
        meter.check(epoch=1)


def test_patience_is_for_losses_in_a_row():
    meter = Meter(CPU, patience=3)
    for step, value in enumerate([NAN, NAN, 1.0, NAN, NAN]):
        meter.update(terms(ce=value), None, labels(1), step)
    meter.check(epoch=1)
    meter.update(terms(ce=NAN), None, labels(1), 5)
    with pytest.raises(Diverged, match="step 5"):
        meter.check(epoch=1)


def test_patience_counts_across_epochs():
    meter = Meter(CPU, patience=2)
    meter.update(terms(ce=NAN), None, labels(1), 9)
    meter.reset()
    meter.update(terms(ce=NAN), None, labels(1), 0)
    with pytest.raises(Diverged, match="epoch 2, step 0"):
        meter.check(epoch=2)


@pytest.mark.parametrize("split", [1, 2, 3])
def test_a_resumed_meter_ends_like_an_uninterrupted_one(split):
    steps = [terms(ce=1.0), terms(ce=2.0, kd=0.5), terms(ce=NAN, kd=0.25), terms(kd=NAN)]

    def fed(meter: Meter, numbers: range) -> Meter:
        for step in numbers:
            meter.update(steps[step], hits(step, 3), labels(3), step)
        return meter

    whole = fed(Meter(CPU, patience=2), range(4))
    buffer = io.BytesIO()
    torch.save(fed(Meter(CPU, patience=2), range(split)).state(), buffer)
    buffer.seek(0)
    resumed = Meter(CPU, patience=2)
    resumed.load(torch.load(buffer, weights_only=True))
    fed(resumed, range(split, 4))
    assert str(resumed.state()) == str(whole.state())
    with pytest.raises(Diverged) as caught:
        resumed.check(1)
    with pytest.raises(Diverged) as expected:
        whole.check(1)
    assert str(caught.value) == str(expected.value)


def test_a_loaded_state_is_a_copy():
    first = Meter(CPU)
    first.update(terms(ce=1.0), None, labels(1), 0)
    second = Meter(CPU)
    second.load(first.state())
    second.update(terms(ce=3.0), None, labels(1), 1)
    assert first.means()["ce"] == 1.0
    assert second.means()["ce"] == 2.0
