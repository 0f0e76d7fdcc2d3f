"""SDD: its regions against the authors' numbers, and the methods that it wraps."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

import distillers
from distillers import Unsupported, sdd
from distillers.sdd import region_logits
from models import Outputs
from tests.distillers import golden
from tests.distillers.golden_rows import ROWS, example
from tests.distillers.runs import Run, check_finite, total

NAMES = ["sdd+kd", "sdd+dkd", "sdd+nkd"]


@pytest.mark.parametrize("name", ["c0", "c1"])
def test_regions_where_the_teacher_differs_from_the_whole(name, monkeypatch):
    monkeypatch.setattr(*ROWS["sdd"].patch)
    made = example("sdd", name)
    right = made.case.tensor("aux", "teacher_region_correct").T
    logits = sdd.region_logits(made.teacher, None, 4)
    differs = made.methods[0]._complementary(logits, golden.batch(made.inputs))
    assert differs.equal((right != right[0]).flatten().double())
    assert 0 < differs.sum() < differs.numel()


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", ["c2", "c3"])
def test_regions(name, dtype):
    case = golden.load("sdd", name)
    inputs = golden.inputs(case, dtype)
    (shape,) = (p["shape"] for p in case.params["parameters"] if p["name"] == "fc.weight")
    heads = nn.ModuleDict({"fc": nn.Linear(*reversed(shape))})
    golden.fill(heads)
    outputs = Outputs(torch.zeros(len(inputs["s_feat0"]), shape[0]), final_map=inputs["s_feat0"])
    logits = region_logits(
        outputs, heads.to(dtype)["fc"], {"[1,2]": 2, "[1,2,4]": 4}[case.hparams["M"]]
    )
    expected = case.tensor("aux", "region_logits", dtype)
    torch.testing.assert_close(logits.permute(1, 2, 0), expected, rtol=1e-4, atol=1e-6)
    golden.check_value(case, "region_sum", logits.sum())
    logits.sum().backward()
    golden.check_gradients(case, inputs)
    names = {name: name for name in ("fc.weight", "fc.bias")}
    golden.check_parameter_gradients(case, heads, names)


@pytest.mark.parametrize("side", [4, 8])
def test_the_first_region_is_the_whole(side):
    head, final_map = nn.Linear(3, 5), torch.randn(2, 3, side, side)
    found = region_logits(Outputs(torch.zeros(2, 5), final_map=final_map), head, 4)
    assert found.shape == (21, 2, 5)
    torch.testing.assert_close(found[0], head(final_map.mean((2, 3))))
    half = side // 2
    torch.testing.assert_close(found[2], head(final_map[:, :, :half, half:].mean((2, 3))))


@pytest.mark.parametrize("name", NAMES)
def test_equal_regions_are_the_method_itself(name):
    """On a spatially constant map every region equals the whole, and no weight matters."""
    run, plain = Run(name), Run(name.removeprefix("sdd+"))
    options = vars(run.method.options)
    for option in vars(plain.method.options):
        setattr(plain.method.options, option, options[option])
    batch = run.batch()
    pairs = [[network.outputs(batch.images) for network in r.networks()] for r in (run, plain)]
    flat = [
        dataclasses.replace(o, final_map=o.embedding[:, :, None, None].expand(-1, -1, 8, 8))
        for o in pairs[0]
    ]
    found, expected = run.method(*flat, batch), plain.method(*pairs[1], batch)
    assert found.keys() == expected.keys()
    for term, value in expected.items():
        torch.testing.assert_close(found[term], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [*NAMES, "lskd+sdd+kd", "sdd+lskd+dkd", "ctkd+sdd+dkd"])
def test_terms_gradients_and_precisions(name):
    run = Run(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = run.losses()
    assert {value.dtype for value in losses.values()} == {torch.float32}
    check_finite(run, losses)
    assert run.student.classifier.weight.grad.any()
    assert all(p.grad is None for p in run.teacher.parameters())
    assert not {id(m) for m in run.method.modules()} & {id(m) for m in run.student.modules()}
    for module in (*run.networks(), run.method):
        module.double()
    batch = dataclasses.replace(run.batch(), images=run.batch().images.double())
    assert {value.dtype for value in run.losses(batch).values()} == {torch.float64}


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_the_mean_of_its_halves(name):
    run = Run(name)
    run.student.eval()
    for network in run.networks():
        network.double()
    batch = dataclasses.replace(run.batch(), images=run.batch().images.double())
    parts = [
        dataclasses.replace(batch, images=images, labels=labels, whole=len(batch))
        for images, labels in zip(batch.images.chunk(2), batch.labels.chunk(2), strict=True)
    ]
    halves = torch.stack([total(run.losses(part)) for part in parts])
    torch.testing.assert_close(total(run.losses(batch)), halves.mean())


@pytest.mark.parametrize("name", NAMES)
def test_soft_labels_small_batches_and_steps(name):
    run = Run(name)
    before = copy.deepcopy(run.student.classifier.weight)
    labels = 0.9 * torch.eye(10)[torch.arange(16) % 4] + 0.01
    check_finite(run, run.losses(labels=labels))
    check_finite(run, run.losses(size=1))
    run.step(0)
    assert not torch.equal(run.student.classifier.weight, before)


def test_unsuitable_methods_and_networks_are_rejected():
    networks = [Run("kd").student, Run("kd").teacher]
    with pytest.raises(Unsupported, match=r"sdd needs a loss per sample, .*crd"):
        distillers.build("sdd+crd+kd", *networks, golden.info(Outputs(torch.zeros(4, 10))))
    networks[0].outputs = lambda *_, **__: Outputs(torch.zeros(2, 10))
    with pytest.raises(Unsupported, match="needs final_map"):
        distillers.build("sdd+kd", *networks, golden.info(Outputs(torch.zeros(4, 10))))
