"""Reading the outputs of a forward pass that may be absent."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from models import MissingOutputError, Outputs

LOGITS = torch.zeros(2, 3)
MAYBE_ABSENT = [field.name for field in dataclasses.fields(Outputs) if field.name != "logits"]


@pytest.mark.parametrize("name", MAYBE_ABSENT)
def test_a_required_field_is_the_field_itself(name):
    value = LOGITS if name in ("embedding", "final_map") else (LOGITS,)
    assert getattr(Outputs(LOGITS, **{name: value}).required, name) is value


@pytest.mark.parametrize("name", MAYBE_ABSENT)
def test_reading_an_absent_field_says_which_and_what_to_do(name):
    remedies = {"views": r"needs = Needs\(views=\(\"NAME\",\)\)", "cls": "raising Unsupported"}
    remedy = remedies.get(name, rf"needs = Needs\({name}=True\)")
    default = getattr(Outputs(LOGITS), name)
    for absent in {default, None if name in ("embedding", "final_map") else ()}:
        with pytest.raises(MissingOutputError, match=rf"no '{name}': .*{remedy}.* reported as n/a"):
            getattr(Outputs(LOGITS, **{name: absent}).required, name)


def test_it_is_a_mistake_in_code_not_bad_input():
    """Bad input (ValueError here) is one line for the user; a method's author needs a traceback."""
    assert not issubclass(MissingOutputError, (ValueError, AttributeError))


def test_mapped_outputs_are_of_the_same_structure():
    inner = Outputs(LOGITS, features=(LOGITS.half(), LOGITS))
    outputs = Outputs(LOGITS.double(), blocks=((LOGITS.bfloat16(),),), views=(inner,)).promoted()
    assert outputs.logits.dtype == torch.float64
    assert outputs.required.blocks[0][0].dtype == torch.float32
    assert [f.dtype for f in outputs.required.views[0].required.features] == [torch.float32] * 2
    assert outputs.embedding is None
