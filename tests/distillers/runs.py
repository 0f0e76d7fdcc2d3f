"""`Run`: a method on a pair of networks, stepped as the trainer does; and checks of its losses."""

import copy
import dataclasses
from types import SimpleNamespace

import pytest
import torch

import distillers
from datasets import Batch, Info
from distillers import Unsupported
from tests.distillers.pairs import SAME_FAMILY, TOKENS, network

DISTILLING = [name for name in distillers.names() if distillers.find(name).needs.teacher]
SIZE, IMAGE, TRAIN = 16, 16, 96


def info(classes):
    return Info(
        name="random",
        num_classes=classes,
        image_size=IMAGE,
        class_names=tuple(f"class {c}" for c in range(classes)),
        train_size=TRAIN,
        train_labels=torch.arange(TRAIN) % min(classes, 12),
        batch_size=SIZE,
    )


def make_batch(needs, classes=10, size=SIZE, step=0, labels=None):
    """Four samples of each of four classes, or of as many as there are."""
    generator = torch.Generator().manual_seed(step)
    group = torch.arange(size) % min(4, classes)
    return Batch(
        images=torch.randn(size, 3, IMAGE, IMAGE, generator=generator),
        labels=group if labels is None else labels,
        indices=(12 * torch.arange(size) + group) % TRAIN,
        epoch=1,
        step=step,
        views=tuple(torch.randn(size, 3, IMAGE, IMAGE, generator=generator) for _ in needs.views),
    )


class Run:
    """A method on fresh copies of a pair of networks, stepped as the trainer does."""

    def __init__(self, name, pair=None, classes=10, seed=0, init=0, **options):
        """``pair``: teacher and student; by default the first that the method can serve."""
        self.classes = classes
        for self.pair in [pair] if pair else [SAME_FAMILY, TOKENS]:
            try:
                self._build(name, seed, init, options)
            except Unsupported as error:
                reason = error
            else:
                break
        else:
            pytest.skip(f"n/a: {reason}")
        self.method.on_epoch(1)

    def _build(self, name, seed, init, options):
        teacher, student = (copy.deepcopy(network(n, self.classes)) for n in self.pair)
        self.teacher = teacher.eval() if distillers.find(name).needs.teacher else None
        self.student = student
        torch.manual_seed(init)
        self.method = distillers.build(
            name, self.student, self.teacher, info(self.classes), seed=seed, **options
        )

    def networks(self):
        return [n for n in (self.student, self.teacher) if n is not None]

    def batch(self, **kwargs):
        return make_batch(self.method.needs, self.classes, **kwargs)

    def outputs(self, net, batch):
        """With gradients for the teacher as well, since the method has to detach them."""
        if net is None:
            return None
        asked = {"preacts": self.method.needs.preacts, "blocks": self.method.needs.blocks}
        views = tuple(net.outputs(view, **asked) for view in batch.views)
        return dataclasses.replace(net.outputs(batch.images, **asked), views=views)

    def losses(self, batch=None, change=lambda outputs: outputs, **kwargs):
        batch = batch or self.batch(**kwargs)
        student, teacher = (self.outputs(net, batch) for net in (self.student, self.teacher))
        return self.method(change(student), teacher and change(teacher), batch)

    def step(self, number):
        trained = [p for m in (self.student, self.method) for p in m.parameters()]
        recipe = SimpleNamespace(make_optimizer=lambda params: torch.optim.SGD(params, lr=0.01))
        optimizer = self.method.optimizer(trained, recipe)
        self.method.step(
            self.losses(step=number), optimizer, torch.amp.GradScaler("cpu", enabled=False)
        )
        optimizer.zero_grad()


def total(losses):
    return torch.stack(list(losses.values())).sum()


def own(losses):
    return {term: value for term, value in losses.items() if term not in ("ce", "kd")}


def check_finite(run, losses):
    """Scalars under names of this method; they and all gradients are finite."""
    base = run.method.name
    for term, value in losses.items():
        assert term in ("ce", "kd", base) or term.startswith(f"{base}."), term
        assert value.shape == () and torch.isfinite(value), (term, value)
    total(losses).backward()
    gradients = [p.grad for m in (run.student, run.method) for p in m.parameters()]
    assert all(torch.isfinite(g).all() for g in gradients if g is not None)
