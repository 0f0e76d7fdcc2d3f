"""Properties of every registered method; registering a new one is enough to have it tested."""

import copy
import dataclasses

import pytest
import torch

import distillers
from distillers import Distiller, Unsupported
from tests.distillers.pairs import PAIRS, network
from tests.distillers.runs import DISTILLING, SIZE, Run, check_finite, info, own, total

METHODS = distillers.names()


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("name", METHODS)
def test_losses_are_finite(name, pair):
    run = Run(name, pair)
    assert isinstance(run.method, Distiller)
    check_finite(run, run.losses())


@pytest.mark.parametrize("name", METHODS)
def test_some_pair_is_supported_and_others_get_a_reason(name):
    supported = []
    for teacher, student in PAIRS:
        try:
            distillers.build(name, network(student, 10), network(teacher, 10), info(10))
            supported.append((teacher, student))
        except Unsupported as reason:
            assert len(str(reason).split()) > 3
    assert supported


@pytest.mark.parametrize("name", METHODS)
def test_half_precision_outputs(name):
    run = Run(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = run.losses()
    assert {value.dtype for value in losses.values()} == {torch.float32}
    check_finite(run, losses)


@pytest.mark.parametrize("name", METHODS)
def test_double_precision_stays_double(name):
    run = Run(name)
    for module in (*run.networks(), run.method):
        module.double()
    batch = run.batch()
    views = tuple(view.double() for view in batch.views)
    batch = dataclasses.replace(batch, images=batch.images.double(), views=views)
    assert {value.dtype for value in run.losses(batch).values()} == {torch.float64}


@pytest.mark.parametrize("scale", [0.0, 1e4])
@pytest.mark.parametrize("name", METHODS)
def test_extreme_logits(name, scale):
    run = Run(name)
    losses = run.losses(change=lambda o: dataclasses.replace(o, logits=o.logits * scale))
    check_finite(run, losses)


@pytest.mark.parametrize("name", METHODS)
def test_gradient_reaches_the_student_and_never_the_teacher(name):
    run = Run(name)
    losses = run.losses()
    total(own(losses) or losses).backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in run.student.parameters())
    if run.teacher is not None:
        assert all(p.grad is None for p in run.teacher.parameters())


@pytest.mark.parametrize("name", DISTILLING)
def test_ten_steps_do_not_change_the_teacher(name):
    run = Run(name)
    before = copy.deepcopy(run.teacher.state_dict())
    first = run.student.state_dict()["conv1.weight"].clone()
    for number in range(10):
        run.step(number)
    assert not torch.equal(run.student.state_dict()["conv1.weight"], first)
    after = run.teacher.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert not any(module.training for module in run.teacher.modules())


@pytest.mark.parametrize("name", METHODS)
def test_building_does_not_change_the_networks(name):
    run = Run(name)
    for trained, fresh in zip(run.networks(), reversed(run.pair), strict=False):
        expected = network(fresh, 10).state_dict()
        assert all(torch.equal(v, expected[key]) for key, v in trained.state_dict().items())
    assert all(module.training for module in run.student.modules())


@pytest.mark.parametrize("name", METHODS)
def test_the_module_holds_nothing_of_the_networks(name):
    run = Run(name)
    theirs = {id(m) for net in run.networks() for m in net.modules()}
    assert not theirs & {id(m) for m in run.method.modules()}
    tensors = [(*net.parameters(), *net.buffers()) for net in run.networks()]
    addresses = {t.data_ptr() for group in tensors for t in group}
    mine = (*run.method.parameters(), *run.method.buffers())
    assert not addresses & {t.data_ptr() for t in mine if t.numel()}


@pytest.mark.parametrize("name", METHODS)
def test_weights_scale_their_terms(name):
    one = Run(name, ce=1.0, kd=1.0 if name in DISTILLING else 0.0, weight=1.0).losses()
    two = Run(name, ce=2.0, kd=2.0 if name in DISTILLING else 0.0, weight=2.0).losses()
    assert one.keys() == two.keys()
    for term, value in one.items():
        torch.testing.assert_close(two[term], 2 * value, msg=lambda m, term=term: f"{term}: {m}")


PART_WEIGHTS = [
    (name, option)
    for name in METHODS
    for option in distillers.defaults(name)
    if option.endswith("_weight")
]


@pytest.mark.parametrize(("name", "option"), PART_WEIGHTS)
def test_the_loss_is_linear_in_the_weights_of_parts(name, option):
    deeper = ("resnet20", "resnet14")  # two blocks per stage: some parts compare blocks
    zero, one, two = (total(Run(name, deeper, **{option: w}).losses()) for w in (0.0, 1.0, 2.0))
    assert one != zero
    torch.testing.assert_close(two - one, one - zero, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_weight_zero_switches_the_own_term_off(name):
    assert set(Run(name, ce=1.0, kd=0.0, weight=0.0).losses()) == {"ce"}


@pytest.mark.parametrize("name", METHODS)
def test_plus_kd_adds_one_term(name):
    if name in ("kd", "vanilla"):
        with pytest.raises(distillers.MethodError, match=r"expected NAME or NAME\+kd"):
            distillers.find(f"{name}+kd")
        return
    plain, composed = Run(name).losses(), Run(f"{name}+kd").losses()
    assert list(composed.keys() - plain.keys()) == ["kd"]
    assert all(torch.equal(composed[term], value) for term, value in plain.items())


@pytest.mark.parametrize("name", METHODS)
def test_state_dict_round_trip(name):
    run = Run(name)
    for number in range(2):
        run.step(number)
    saved = copy.deepcopy(run.method.state_dict())
    resumed = Run(name, init=1)
    resumed.student.load_state_dict(run.student.state_dict())
    resumed.method.load_state_dict(saved)
    expected = run.losses(step=2)
    assert expected == resumed.losses(step=2)


@pytest.mark.parametrize("name", METHODS)
def test_losses_are_a_function_of_seed_and_step(name):
    """Not of torch's global generator, which the other runs of a cohort advance too."""
    first, second = Run(name), Run(name)
    for number in range(3):
        torch.manual_seed(number)
        expected = first.losses(step=number)
        torch.manual_seed(99)
        assert expected == second.losses(step=number)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("name", METHODS)
def test_small_batches_without_pairs_of_a_class(name, size):
    run = Run(name)
    losses = run.losses(size=size, labels=torch.arange(size))
    check_finite(run, losses)
    if size < run.method.needs.min_batch and run.method.options.weight:
        assert own(losses).keys() <= {run.method.name} and not any(own(losses).values())


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_of_one_class(name):
    run = Run(name)
    check_finite(run, run.losses(labels=torch.full((SIZE,), 3)))


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_of_equal_images(name):
    run = Run(name)
    batch = run.batch()
    images = batch.images[:1].expand_as(batch.images).clone()
    check_finite(run, run.losses(dataclasses.replace(batch, images=images)))


@pytest.mark.parametrize("name", METHODS)
def test_soft_labels(name):
    run = Run(name)
    labels = 0.9 * torch.eye(10)[torch.arange(SIZE) % 4] + 0.01
    check_finite(run, run.losses(labels=labels))


@pytest.mark.parametrize("classes", [2, 1000])
@pytest.mark.parametrize("name", METHODS)
def test_two_and_a_thousand_classes(name, classes):
    run = Run(name, classes=classes)
    check_finite(run, run.losses())


@pytest.mark.parametrize("name", METHODS)
def test_predictions_are_logits(name):
    run = Run(name)
    student = run.outputs(run.student, run.batch())
    assert run.method.predict(student).shape == (SIZE, 10)


@pytest.mark.parametrize("name", METHODS)
def test_an_initial_stage_trains_what_it_names(name):
    run = Run(name)
    stage = run.method.init_stage()
    if stage is None:
        assert type(run.method).init_loss is Distiller.init_loss
        return
    batch = run.batch()
    student, teacher = (run.outputs(net, batch) for net in (run.student, run.teacher))
    losses = run.method.initial(student if stage.uses_student else None, teacher, batch)
    total(losses).backward()
    gradients = [p.grad for p in stage.modules.parameters()]
    assert any(g is not None and g.abs().max() > 0 for g in gradients)
    assert all(torch.isfinite(g).all() for g in gradients if g is not None)
