"""CRD against RepDistiller's numbers over two steps; its banks, its normaliser and its pairs."""

import pytest
import torch

from datasets import Batch
from distillers.crd import CRD
from distillers.negatives import NegativeSampler
from tests.distillers import golden

HEADS = {
    f"embed_{side[0]}.linear.{kind}": f"embed_{side}.{kind}"
    for side in ("student", "teacher")
    for kind in ("weight", "bias")
}


def build(case, inputs, dtype, method="crd", **options):
    """A method on CRD's banks with those of the case, which has drawn its pairs itself."""
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    hparams = case.hparams
    method = golden.build(
        case,
        method,
        student,
        teacher,
        dtype,
        golden.info(student, train_size=hparams["n_data"]),
        weight=1.0,
        feature_dim=hparams["feat_dim"],
        negatives=hparams["nce_k"],
        temperature=hparams["nce_t"],
        momentum=hparams["nce_m"],
        **options,
    )
    method.memory_student.copy_(inputs["memory_v1"])
    method.memory_teacher.copy_(inputs["memory_v2"])
    return method


def run(method, inputs, suffix=""):
    student, teacher = (golden.outputs(inputs, side, suffix) for side in "st")
    method.sample_negatives = lambda batch: inputs[f"contrast_idx{suffix}"].clone()
    return method(student, teacher, golden.batch(inputs, suffix))[method.name]


def check_state(case, method, step):
    tolerance = {"rtol": 1e-5, "atol": 1e-6}
    state = {key: value.float() for key, value in method.state_dict().items()}
    for number, side in enumerate(("student", "teacher"), 1):
        bank = case.tensor("aux", f"memory_v{number}_after{step}")
        torch.testing.assert_close(state[f"memory_{side}"], bank, **tolerance)
        z = case.tensor("aux", f"params_after{step}")[1 + number]
        torch.testing.assert_close(state[f"normalizer_{side}"], z, **tolerance)


@pytest.mark.parametrize("product_up_to", [16, 0])
@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("crd"))
def test_two_steps(name, dtype, product_up_to, monkeypatch):
    monkeypatch.setattr(CRD, "product_up_to", product_up_to)
    case = golden.load("crd", name)
    inputs = golden.inputs(case, dtype)
    method = build(case, inputs, dtype)
    first = run(method, inputs)
    golden.check_value(case, "crd", first)
    check_state(case, method, step=1)
    golden.check_value(case, "crd_step2", run(method, inputs, "_step2"))
    check_state(case, method, step=2)
    first.backward()  # the banks have changed twice since
    golden.check_gradients(case, inputs)
    golden.check_parameter_gradients(case, method, HEADS)


def test_without_gradients_nothing_is_remembered():
    case = golden.load("crd", "c0")
    inputs = golden.inputs(case, torch.float64)
    method = build(case, inputs, torch.float64)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    with torch.no_grad():
        golden.check_value(case, "crd", run(method, inputs))
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())


def test_the_last_of_equal_indices_is_remembered():
    case = golden.load("crd", "c0")
    inputs = golden.inputs(case, torch.float64)
    method = build(case, inputs, torch.float64)
    alone = build(case, inputs, torch.float64)
    run(alone, inputs)
    twice = inputs | {"indices": inputs["indices"].clone()}
    twice["indices"][0] = inputs["indices"][-1]
    run(method, twice)
    for bank in ("memory_student", "memory_teacher"):
        row = getattr(method, bank)[inputs["indices"][-1]]
        torch.testing.assert_close(row, getattr(alone, bank)[inputs["indices"][-1]])


def test_a_zero_embedding_stays_finite():
    case = golden.load("crd", "c0")
    inputs = golden.inputs(case, torch.float32)
    method = build(case, inputs, torch.float32)
    with torch.no_grad():
        inputs["s_embedding"].zero_()
        method.embed_student.bias.zero_()
    loss = run(method, inputs)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(inputs["s_embedding"].grad).all()
    assert all(torch.isfinite(value).all() for value in method.state_dict().values())


# ---- pairs ---------------------------------------------------------------------------------------


def sampler(labels, count, num_classes=4):
    return NegativeSampler(torch.tensor(labels), num_classes, count)


UNEVEN = [0, 1, 1, 2, 2, 2, 2, 0, 2, 3, 3, 1, 2, 2, 3, 0, 2, 1, 2, 2]  # sizes 3, 4, 10, 3


@pytest.mark.parametrize("count", [1, 5, 10])
@pytest.mark.parametrize("seed", range(20))
def test_negatives_are_distinct_and_of_other_classes(count, seed):
    labels = torch.tensor(UNEVEN)
    classes = torch.tensor([0, 1, 2, 3, 2, 1, 0, 2])
    rows = sampler(UNEVEN, count).draw(classes, torch.Generator().manual_seed(seed))[:, 1:]
    assert rows.shape == (8, count)
    assert (labels[rows] != classes[:, None]).all()
    assert all(len(row.unique()) == count for row in rows)


def test_where_other_classes_are_too_few_negatives_repeat():
    labels = torch.tensor(UNEVEN)
    classes = torch.tensor([2, 0])  # 10 others for class 2, 17 for class 0
    rows = sampler(UNEVEN, 17).draw(classes, torch.Generator().manual_seed(0))[:, 1:]
    assert rows.shape == (2, 17)
    assert (labels[rows] != classes[:, None]).all()
    assert len(rows[0].unique()) <= 10
    assert len(rows[1].unique()) == 17


@pytest.mark.parametrize("count", [3, 9, 40])
def test_every_row_draws_all_others_equally_often(count):
    labels, drawer = torch.tensor(UNEVEN), sampler(UNEVEN, count)
    generator = torch.Generator().manual_seed(0)
    classes = torch.tensor([0, 1, 2, 3])
    seen = torch.zeros(4, 20)
    draws = 3000
    for _ in range(draws):
        rows = drawer.draw(classes, generator)[:, 1:]
        seen.scatter_add_(1, rows, torch.ones(rows.shape))
    for row, label in zip(seen, classes, strict=True):
        others = labels != label
        expected = draws * count / int(others.sum())
        assert row[~others].sum() == 0
        assert (row[others] - expected).abs().max() < 5 * expected**0.5


def test_pairs_of_negatives_are_as_frequent_as_in_a_uniform_subset():
    drawer, generator = sampler([0, 0, 1, 1, 1, 1], 2, 2), torch.Generator().manual_seed(1)
    seen = torch.zeros(6, 6)
    for _ in range(3000):
        a, b = drawer.draw(torch.tensor([0]), generator)[0, 1:].sort().values
        seen[a, b] += 1
    counts = seen[seen > 0]
    assert len(counts) == 6  # 4 choose 2
    assert (counts - 500).abs().max() < 5 * 500**0.5


def tiny(positives, negatives=4, labels=UNEVEN):
    inputs = {"s_embedding": torch.rand(8, 6), "t_embedding": torch.rand(8, 5)}
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    data = golden.info(student, len(labels), train_labels=torch.tensor(labels))
    case = golden.load("crd", "c0")
    return golden.build(
        case,
        "crd",
        student,
        teacher,
        torch.float32,
        data,
        positives=positives,
        negatives=negatives,
        feature_dim=3,
    )


def at_step(step, soft=False):
    indices = torch.arange(8) + 2
    labels = torch.tensor(UNEVEN)[indices]
    if soft:
        labels = 0.9 * torch.eye(10)[labels] + 0.01
    return Batch(torch.zeros(8, 3, 8, 8), labels, indices, epoch=1, step=step)


def test_exact_pairs():
    rows = tiny("exact").sample_negatives(at_step(0))
    assert rows.dtype == torch.long and rows.shape == (8, 5)
    assert torch.equal(rows[:, 0], at_step(0).indices)


def test_relaxed_positives_are_any_of_the_class():
    method, labels = tiny("relax"), torch.tensor(UNEVEN)
    positives = torch.stack([method.sample_negatives(at_step(s))[:, 0] for s in range(200)])
    assert (labels[positives] == at_step(0).labels).all()
    for column, label in zip(positives.T, at_step(0).labels, strict=True):
        assert len(column.unique()) == int((labels == label).sum())


def test_pairs_are_a_function_of_the_step():
    method = tiny("exact")
    assert torch.equal(method.sample_negatives(at_step(3)), method.sample_negatives(at_step(3)))
    assert not torch.equal(method.sample_negatives(at_step(3)), method.sample_negatives(at_step(4)))


def test_soft_labels_count_by_their_largest_class():
    method = tiny("exact")
    soft = method.sample_negatives(at_step(3, soft=True))
    assert torch.equal(soft, method.sample_negatives(at_step(3)))
