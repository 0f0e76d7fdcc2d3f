"""For tests that write a formula out as a loop: inputs, a softmax, a method on logits alone."""

import math

import torch

from tests.distillers import golden


def draw(*shapes, seed=0, scale=1.0):
    """Normal deviates in float64, one tensor per shape."""
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]


def normal(*shape, seed=0):
    """One tensor of normal deviates in float64."""
    return draw(shape, seed=seed)[0]


def softmax(values, temperature=1.0):
    top = max(values)
    powers = [math.exp((v - top) / temperature) for v in values]
    return [power / sum(powers) for power in powers]


def kl(q, p):
    """KL(q ‖ p) of two lists of probabilities."""
    return sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))


def outputs(logits):
    return golden.outputs({"s_logits": logits}, "s")


def build(name, student, teacher, **options):
    """A method on two networks that have nothing but these logits."""
    return golden.build(name, outputs(student), outputs(teacher), student.dtype, **options)


def losses(method, student, teacher, labels=None, epoch=1):
    inputs = {"s_logits": student} if labels is None else {"s_logits": student, "labels": labels}
    return method(outputs(student), outputs(teacher), golden.batch(inputs, epoch=epoch))
