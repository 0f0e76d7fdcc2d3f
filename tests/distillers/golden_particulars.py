"""What is particular about a fixture: its networks, its state and sampling, sums of its terms.

Functions that rows of golden_rows.py name; `Row` in golden_example.py says what each gets.
"""

import dataclasses
import math

import pytest
import torch
from torch import nn

from tests.distillers import golden

# ---- networks and what they return ---------------------------------------------------------------


def without_stem(inputs, side, suffix=""):
    """FSP's fixture has the stem as its first map."""
    return golden.outputs(inputs, side, features=golden.outputs(inputs, side).features[1:])


def final_map(inputs, side, suffix=""):
    outputs = golden.outputs(inputs, side)
    return dataclasses.replace(outputs, final_map=outputs.features[-1])


def with_strong_view(inputs, side, suffix=""):
    strong = golden.outputs(inputs, side, "_strong")
    return dataclasses.replace(golden.outputs(inputs, side), views=(strong,))


def maps_or_preacts(inputs, side, suffix=""):
    """ReviewKD's fixture has either; the other must not be read, so it is NaN."""
    outputs = golden.outputs(inputs, side)
    unread = tuple(torch.full_like(m, torch.nan) for m in outputs.features or outputs.preacts)
    features, preacts = outputs.features or unread, outputs.preacts or unread
    return dataclasses.replace(outputs, features=features, preacts=preacts)


def map_or_embedding(inputs, side, suffix=""):
    """SRRL's fixture has last maps or embeddings; the embedding of a map is its mean."""
    if "s_embedding" in inputs:
        return golden.outputs(inputs, side)
    last = inputs[f"{side}_feat0"]
    return golden.outputs(inputs, side, final_map=last, embedding=last.mean(dim=(2, 3)))


def middle_map(inputs, side, suffix=""):
    """USKD reads the map before the last, of which the fixture has the pooled value."""
    pixels = inputs["s_feat_mid"][:, :, None, None].expand(-1, -1, 3, 2)
    last = torch.zeros_like(pixels)
    return golden.outputs(inputs, "s", features=(last, pixels, last))


def tokens(inputs, side, suffix=""):
    low, high = inputs[f"{side}_low"], inputs[f"{side}_high"]
    return golden.outputs(inputs, side, tokens=(low[:, 0], low[:, 1], high))


def regions(inputs, side, suffix=""):
    return golden.outputs(inputs, side, final_map=inputs[f"{side}_patch"])


def regions_given(outputs, head, finest_scale):
    """In place of SDD's `region_logits`: the fixture has logits (N, B, C) where a map would be."""
    return outputs.final_map.permute(2, 0, 1)


def teacher_classifier(example):
    """The teacher shows a classifier filled by the rule."""
    width = (example.teacher.embedding if example.teacher.final_map is None
             else example.teacher.final_map).shape[1]  # fmt: skip
    head = nn.Linear(width, example.h.num_classes)
    golden.fill(head)
    return golden.StandIn(example.student), golden.StandIn(example.teacher, head)


def two_classifiers(example):
    heads = [nn.Linear(2, example.student.logits.shape[1]) for _ in "st"]
    both = zip((example.student, example.teacher), heads, strict=True)
    return tuple(golden.StandIn(outputs, head) for outputs, head in both)


def teacher_norms(example):
    """OFD takes its margins from the teacher's batch norms."""

    def norm(weight, bias):
        layer = nn.BatchNorm2d(len(weight))
        layer.load_state_dict(layer.state_dict() | {"weight": weight.float(), "bias": bias.float()})
        return layer

    stages = range(len(example.teacher.preacts) - 1)
    norms = [norm(*(example.inputs[f"t_bn_{x}{i}"] for x in ("weight", "bias"))) for i in stages]
    teacher = golden.StandIn(example.teacher, preact_norms=(None, *norms))
    return golden.StandIn(example.student), teacher


# ---- state, sampling and parameters that break the fill rule -------------------------------------


def given_banks(example):
    """CRD's banks are the fixture's, which also has the pairs that the reference drew."""
    method, inputs = example.method, example.inputs
    method.memory_student.copy_(inputs["memory_v1"])
    method.memory_teacher.copy_(inputs["memory_v2"])
    method.sample_negatives = lambda batch: example.inputs[f"contrast_idx{example.step}"].clone()


def check_banks(example, step=1):
    tolerance = {"rtol": 1e-5, "atol": 1e-6}
    state = {key: value.float() for key, value in example.method.state_dict().items()}
    for number, side in enumerate(("student", "teacher"), 1):
        bank = example.case.tensor("aux", f"memory_v{number}_after{step}")
        torch.testing.assert_close(state[f"memory_{side}"], bank, **tolerance)
        z = example.case.tensor("aux", f"params_after{step}")[1 + number]
        torch.testing.assert_close(state[f"normalizer_{side}"], z, **tolerance)


def two_steps_of_banks(example):
    check_banks(example)
    golden.check_value(example.case, "crd_step2", example.loss("_step2"))
    check_banks(example, step=2)


def given_queue(example):
    queue = example.inputs.get("queue")
    if queue is not None and queue.shape == example.method.queue.shape:
        example.method.queue.copy_(queue)


def check_queue(example, step=1):
    expected = example.case.tensor("aux", f"queue_after{step}")
    torch.testing.assert_close(example.method.queue.float(), expected)
    assert example.method.pointer == example.case.tensor("aux", f"ptr_after{step}")


def two_steps_of_a_queue(example):
    check_queue(example)
    golden.check_value(example.case, "rrd_step2", example.loss("_step2"))
    check_queue(example, step=2)


def initial_theta(example):
    if example.case.params["fill_exceptions"]:
        nn.init.ones_(example.method.theta)


def check_temperature(example):
    assert (example.h.decay_max, example.h.decay_min) == (0, -1)
    temperature = example.method.temperature(4.0, example.h.epoch)
    torch.testing.assert_close(temperature.float(), example.case.tensor("aux", "temperature")[0])
    reversal = -example.case.tensor("aux", "grl_lambda").item()
    assert example.method._lambda(example.h.epoch) == pytest.approx(reversal)


def initial_scale(example):
    if "dcd.params.tau" in example.case.params["fill_exceptions"]:
        nn.init.constant_(example.method.log_scale, example.h.init_tau)


def initial_variance(example):
    if example.case.params["fill_exceptions"]:
        value = math.log(math.exp(example.h.init_pred_var - example.h.eps) - 1)
        nn.init.constant_(example.method.predictors[0].log_scale, value)


def given_signs(example):
    """KDSVD's value depends on the signs of singular vectors: take those of the reference."""
    stages = iter(range(9))

    def orient(vectors):
        theirs = example.case.tensor("aux", f"t_v{next(stages)}", example.dtype)
        torch.testing.assert_close(vectors.abs(), theirs.abs(), atol=1e-4, rtol=0)
        return vectors * (vectors * theirs).sum(dim=1, keepdim=True).sign()

    example.method.orient = orient


def given_channel_mask(example):
    kept = example.inputs["mask_uniform"] >= example.h.lambda_mgd
    example.method.sample_mask = lambda shape: kept


def given_token_mask(example):
    """ViTKD's reference keeps the tokens of the smallest noise."""
    noise = example.inputs["noise"]
    last = noise.kthvalue(int(noise.shape[1] * (1 - example.h.lambda_vitkd))).values
    example.method.sample_mask = lambda shape: noise <= last[:, None]


def check_margins(example):
    for i in range(len(example.method.connectors)):
        expected = example.case.tensor("aux", f"margin{i}", example.dtype)[0]
        margin = example.method.get_buffer(f"margin{i}")
        torch.testing.assert_close(margin, expected, rtol=1e-6, atol=0)


# ---- terms ---------------------------------------------------------------------------------------


def itrd_and_ega_terms(losses, h):
    """EGA needs equal widths, which one case has."""
    itrd = losses["itrd.correlation"] + losses["itrd.mutual"]
    terms = {"correlation": losses["itrd.correlation"], "mutual": losses["itrd.mutual"]}
    terms |= {"itrd": itrd, "sum": itrd}
    if "ega.node" in losses:
        terms["ega"] = losses["ega.node"] + losses["ega.edge"]
        terms["sum"] = itrd + terms["ega"]
    return terms


def lskd_terms(losses, h):
    terms = {"kd": losses["kd"], "dkd": losses["dkd.tckd"] + losses["dkd.nckd"]}
    for part, theirs in (("instance", "kd"), ("class", "cc"), ("batch", "bc")):
        terms[f"mlkd_{theirs}"] = losses[f"mlkd.{part}"]
    return terms | {"sum": torch.stack(list(terms.values())).sum()}


def sdd_terms(losses, h):
    terms = {
        "sdd_kd": losses["kd"],
        "sdd_dkd": losses["dkd.tckd"] + losses["dkd.nckd"],
        "sdd_nkd": losses["nkd.target"] + losses["nkd.others"],
    }
    return terms | {"sum": torch.stack(list(terms.values())).sum()}
