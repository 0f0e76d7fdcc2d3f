"""Whether methods read and soften logits as they declare."""

import copy
import dataclasses

import pytest
import torch

from distillers import catalogue
from tests.distillers.runs import DISTILLING, Run, total


@pytest.mark.parametrize("name", DISTILLING)
def test_logits_are_read_and_softened_as_declared(name):
    """`catalogue.reads`: the teacher's logits matter; ``softens``: the method calls `soften`."""
    run = Run(name, kd=0.0, ce=0.0)
    method, batch = run.method, run.batch()
    student = run.outputs(run.student, batch)
    teacher = run.outputs(run.teacher, batch)
    softened = []
    method.soften = lambda logits: softened.append(1) or logits
    state = copy.deepcopy(method.state_dict())

    def losses(change):
        method.load_state_dict(state)
        seen = dataclasses.replace(
            change(teacher), views=tuple(change(view) for view in teacher.views)
        )
        with torch.no_grad():
            return total(method(student, seen, batch))

    def mirrored(outputs):
        return dataclasses.replace(outputs, logits=-outputs.logits)

    reads = "logits" in catalogue.reads(name, vars(method.options))
    if name == "kd":
        method.options.kd = 1.0
    assert reads == bool(losses(mirrored) != losses(lambda outputs: outputs))
    assert method.softens == (bool(softened) and name != "kd")
