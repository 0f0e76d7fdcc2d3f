"""The table of golden fixtures: which of our methods, options and terms are which of the reference.

A new fixture golden/NAME.npz needs one row here; `Row` in golden_example.py explains its fields.
Tests of what is particular about a method build it with `example`:

    at = example("at", "c1", power=3)
    at.loss().backward()
    at.inputs["s_feat0"].grad
"""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

import distillers
from distillers import rkd, sdd
from distillers.crd import CRD
from tests.distillers import golden
from tests.distillers.golden_example import Example, Ref, Row

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


# ---- the table -----------------------------------------------------------------------------------

HEADS = {r"embed_s\.(linear\.)?": "embed_student.", r"embed_t\.(linear\.)?": "embed_teacher."}
BANKS = {
    "feature_dim": Ref("feat_dim"),
    "negatives": Ref("nce_k"),
    "temperature": Ref("nce_t"),
    "momentum": Ref("nce_m"),
}
SDD = {"complementary_weight": Ref("complementary_weight")}

ROWS = {
    "ab": Row(
        {"ab": {"margin": Ref("margin")}},
        parameters={r"connector\.(connectors\.\d+)\.conv": r"\1.0",
                    r"connector\.(connectors\.\d+)\.bn": r"\1.1"},
        initial=True,
    ),
    "at": Row({"at": {"power": Ref("p")}}),
    "cc": Row({"cc": {"feature_dim": Ref("feat_dim")}}, parameters=HEADS),
    "clkd": Row(
        # The weights of the parts are our defaults, which are the reference's mu, mu · beta and nu.
        {"clkd": {"ce": Ref("lamb"), "correlation": "class_covariance"}},
        terms=lambda x, h: {
            "loss_ce": x["ce"],
            "instance": x["clkd.instance"] / h.mu,
            "clazz": x["clkd.class"] / (h.mu * h.beta),
            "class_corr": x["clkd.correlation"] / h.nu,
        },
    ),
    "crd": Row({"crd": BANKS}, parameters=HEADS, prepare=given_banks, after=two_steps_of_banks),
    "crd_queue": Row(
        {"crd_queue": {"feature_dim": Ref("feat_dim"), "negatives": Ref("nce_k"),
                       "temperature": Ref("nce_t")}},
        parameters=HEADS, prepare=given_queue, after=check_queue,
    ),
    "ctkd": Row(
        {"ctkd+kd": {"kd": 1.0, "initial_temperature": Ref("t_start"),
                     "temperature_range": Ref("t_end"), "curriculum": Ref("decay_loops")}},
        parameters={r"temp\.global_T": "theta"}, prepare=initial_theta, after=check_temperature,
    ),
    "dcd": Row(
        {"dcd": {"feature_dim": Ref("feat_dim"), "consistency_weight": Ref("alpha"),
                 "max_scale": Ref("max_tau"), "learn_scale": Ref("trainable")}},
        terms=lambda x, h: {"contrastive": x["dcd.contrastive"]},
        parameters={r"dcd\.params\.tau": "log_scale", r"dcd\.embed_s": "embed_student",
                    r"dcd\.embed_t": "embed_teacher"},
        omitted=r"dcd\.params\.b",  # cancels in all soft-maxes
        prepare=initial_scale,
    ),
    "dist": Row(
        {"dist": {"beta": Ref("beta"), "gamma": Ref("gamma"), "temperature": Ref("tau")}},
        terms=lambda x, h: {"inter": x["dist.inter"] / (h.tau**2 * h.beta),
                            "intra": x["dist.intra"] / (h.tau**2 * h.gamma)},
    ),
    "dkd": Row(
        {"dkd": {"ce": Ref("ce_weight"), "alpha": Ref("alpha"), "beta": Ref("beta"),
                 "temperature": Ref("T"), "warmup": Ref("warmup")}},
        terms=lambda x, h: {"loss_ce": x["ce"]},
    ),
    "dkd without warm-up": Row(
        {"dkd": {"alpha": 1.0, "beta": 1.0, "temperature": Ref("T"), "warmup": Ref("warmup")}},
        terms=lambda x, h: {"tckd": x["dkd.tckd"], "nckd": x["dkd.nckd"]},
        fixture="dkd", epoch=240, gradients=False,
    ),
    "fitnet": Row(
        {"fitnet": {"hint_layer": 1}},
        parameters={r"regress\.conv": "regressor.0", r"regress\.bn": "regressor.1"},
    ),
    "fsp": Row({"fsp": {}}, outputs=without_stem, initial=True),
    "ft": Row(
        {"ft": {}},
        parameters={r"translator\.encoder": "translator"},
        # The reference does not detach its paraphraser, but its optimiser does not have it either.
        omitted=r"paraphraser\..*", untrained=("encoder", "decoder"),
    ),
    "ft, initial stage": Row(
        {"ft": {}}, terms=lambda x, h: {"init_loss": x["ft"]},
        fixture="ft", initial=True, gradients=False,
    ),
    "irg_aberhu": Row(
        {"irg": {"variant": "aberhu", "logits_weight": Ref("w_vert"), "edge_weight": Ref("w_edge"),
                 "transformation_weight": Ref("w_tran")}},
        terms=lambda x, h: {"vert": x["irg.logits"] / h.w_vert, "edge": x["irg.edge"] / h.w_edge,
                            "tran": x["irg.transformation"] / h.w_tran},
    ),
    "irg_semckd": Row({"irg": {"variant": "semckd", "logits_weight": 1.0, "edge_weight": 1.0}}),
    "itrd_ega": Row(
        {"itrd": {"correlation_weight": 1.0, "mutual_weight": 1.0, "alpha": Ref("alpha_it")}},
        terms=itrd_and_ega_terms, parameters={r"itrd\.embed\.linear": "embed"},
    ),
    "kd": Row(
        {"kd": {"ce": Ref("ce_weight"), "kd": Ref("kd_weight"), "kd_temperature": Ref("T")}},
        terms=lambda x, h: {"md_loss_ce": x["ce"], "md_loss_kd": x["kd"],
                            "kd": x["kd"] / h.kd_weight},
    ),
    "kd_clskd": Row(
        {"kd": {"variant": "cross_entropy", "kd": Ref("alpha"), "kd_temperature": Ref("temp")}},
    ),
    "kdsvd": Row({"kdsvd": {"vectors": "channels"}}, prepare=given_signs, cases=("c0", "c1")),
    "kdsvd as in mdistiller": Row(
        {"kdsvd": {"vectors": "width"}}, prepare=given_signs,
        fixture="kdsvd", cases=("c2",), float32_only=("c2",),
    ),
    "lskd": Row(
        {"lskd+kd": {"kd": Ref("kd_weight"), "kd_temperature": Ref("T")},
         "lskd+dkd": {"temperature": Ref("T"), "alpha": Ref("alpha"), "beta": Ref("beta")},
         "lskd+mlkd": {"weight": Ref("kd_weight"), "temperature": Ref("T")}},
        terms=lskd_terms, outputs=with_strong_view,
    ),
    "mgd": Row(
        {"mgd": {"weight": Ref("alpha_mgd"), "mask_ratio": Ref("lambda_mgd")}},
        parameters={r"mgd\.": ""}, prepare=given_channel_mask,
    ),
    "mlkd": Row(
        {"mlkd": {"ce": Ref("ce_weight"), "weight": Ref("kd_weight"), "temperature": Ref("T")}},
        terms=lambda x, h: {"loss_ce": x["ce"], "loss_kd": x["mlkd.instance"],
                            "loss_cc": x["mlkd.class"], "loss_bc": x["mlkd.batch"]},
        outputs=with_strong_view,
    ),
    "nkd": Row({"nkd": {"temperature": Ref("temp"), "gamma": Ref("gamma")}}),
    "nst": Row({"nst": {}}),
    "ofd": Row(
        {"ofd": {"weight": Ref("feat_weight")}},
        terms=lambda x, h: {"ofd_unweighted": x["ofd"] / h.feat_weight},
        parameters={r"connectors\.connectors": "connectors"},
        networks=teacher_norms, after=check_margins,
    ),
    "pkt": Row({"pkt": {}}),
    "reviewkd": Row(
        {"reviewkd": {"weight": Ref("weight"), "warmup": Ref("warmup"),
                      "mid_channels": Ref("mid_channel"), "student_preacts": Ref("stu_preact")}},
        parameters={r"abfs\.(\d+)\.conv1": r"fusions.\1.reduce",
                    r"abfs\.(\d+)\.att_conv\.0": r"fusions.\1.attention",
                    r"abfs\.(\d+)\.conv2": r"fusions.\1.expand"},
        outputs=maps_or_preacts,
    ),
    "reviewkd after the warm-up": Row(
        {"reviewkd": {"warmup": Ref("warmup"), "mid_channels": Ref("mid_channel"),
                      "student_preacts": Ref("stu_preact")}},
        terms=lambda x, h: {"hcl": x["reviewkd"]},
        outputs=maps_or_preacts, fixture="reviewkd", epoch=240, gradients=False,
    ),
    "rkd": Row(
        {"rkd": {"distance_weight": Ref("w_d"), "angle_weight": Ref("w_a")}},
        terms=lambda x, h: {"distance_unweighted": x["rkd.distance"] / h.w_d,
                            "angle_unweighted": x["rkd.angle"] / h.w_a},
    ),
    "rrd": Row(
        {"rrd": {"feature_dim": Ref("feat_dim"), "negatives": Ref("nce_k"),
                 "student_temperature": Ref("nce_t_s"), "teacher_temperature": Ref("nce_t_t")}},
        parameters=HEADS, untrained=("embed_teacher",),
        prepare=given_queue, after=two_steps_of_a_queue, cases=("c0", "c1"),
    ),
    "rrd_bank": Row(
        {"rrd_bank": {**BANKS, "student_temperature": Ref("nce_t_s"),
                      "teacher_temperature": Ref("nce_t_t")}},
        parameters=HEADS, untrained=("embed_teacher",),
        prepare=given_banks, after=check_banks, fixture="rrd", cases=("c2",),
    ),
    "sdd": Row(
        {"sdd+kd": {**SDD, "kd": Ref("kd_weight"), "kd_temperature": Ref("T")},
         "sdd+dkd": {**SDD, "alpha": Ref("alpha"), "beta": Ref("beta"), "temperature": Ref("T"),
                     "warmup": Ref("warmup")},
         "sdd+nkd": {**distillers.defaults("sdd+nkd", "sdd"), **SDD, "ce": 0.0,
                     "gamma": Ref("nkd_gamma"), "temperature": Ref("T"), "warmup": Ref("warmup")}},
        terms=sdd_terms, outputs=regions, networks=two_classifiers,
        cases=("c0", "c1"), patch=(sdd, "region_logits", regions_given),
    ),
    "semckd": Row(
        {"semckd": {}},
        parameters={
            r"selfa\.query_(?:weight)?(\d)\.linear1": r"queries.\1.0",
            r"selfa\.query_(?:weight)?(\d)\.linear2": r"queries.\1.2",
            r"selfa\.key_(?:weight)?(\d)\.linear1": r"keys.\1.0",
            r"selfa\.key_(?:weight)?(\d)\.linear2": r"keys.\1.2",
            r"selfa\.regressor(\d)(\d)\.regressor": r"projectors.\1.\2",
        },
    ),
    "simkd": Row(
        {"simkd": {"factor": Ref("factor")}}, parameters={r"simkd\.transfer": "projector"},
        outputs=final_map, networks=teacher_classifier,
    ),
    "skd": Row(
        {"skd": {"ce": Ref("ce_weight"), "weight": Ref("kd_weight"), "temperature": Ref("T"),
                 "tikhonov": Ref("tik")}},
        terms=lambda x, h: {"loss_ce": x["ce"], "loss_kd": x["skd.instance"],
                            "loss_bc": x["skd.direction"]},
    ),
    "sp": Row({"sp": {}}),
    "srrl on maps": Row(
        {"srrl": {"on": "map", "feature_weight": Ref("alpha"), "regression_weight": Ref("beta")}},
        parameters={r"srrl\.Connectors": "connector"},
        outputs=map_or_embedding, networks=teacher_classifier, fixture="srrl", cases=("c0", "c1"),
    ),
    "srrl on embeddings": Row(
        {"srrl": {"on": "embedding", "feature_weight": 1.0, "regression_weight": 1.0}},
        parameters={r"srrl\.transfer": "connector"},
        networks=teacher_classifier, fixture="srrl", cases=("c2",),
    ),
    "uskd": Row(
        {"uskd": {"alpha": Ref("alpha"), "beta": Ref("beta"), "mu": Ref("mu"),
                  "rank_space": "log_probabilities"}},
        parameters={r"uskd\.fc": "weak_head"}, outputs=middle_map,
    ),
    "uskd by part": Row(
        {"uskd": {"alpha": 1.0, "beta": 1.0, "mu": 1.0, "rank_space": "log_probabilities"}},
        terms=lambda x, h: {"target": x["uskd.target"], "nontarget": x["uskd.others"],
                            "weak_mu1": x["uskd.weak"]},
        outputs=middle_map, fixture="uskd", gradients=False,
    ),
    "vid": Row(
        {"vid": {"initial_variance": Ref("init_pred_var"), "hidden_channels": Ref("mid_channels")}},
        parameters={r"vid\.log_scale": "predictors.0.log_scale",
                    r"vid\.regressor": "predictors.0.mean"},
        prepare=initial_variance,
    ),
    "vitkd": Row(
        {"vitkd": {"mimic_weight": Ref("alpha_vitkd"), "generation_weight": Ref("beta_vitkd"),
                   "mask_ratio": Ref("lambda_vitkd")}},
        terms=lambda x, h: {"mimic": x["vitkd.mimic"], "generation": x["vitkd.generation"]},
        parameters={r"vitkd\.align2": "mimics", r"vitkd\.": ""},
        outputs=tokens, prepare=given_token_mask,
    ),
    "wsld": Row({"wsld": {"temperature": Ref("temp"), "alpha": Ref("alpha")}}),
}  # fmt: skip

# Two cases of one fixture, of which only one can have EGA's terms.
ROWS["itrd and ega"] = dataclasses.replace(
    ROWS["itrd_ega"],
    methods={**ROWS["itrd_ega"].methods, "ega": {"edge_weight": Ref("ega_edge_weight")}},
    fixture="itrd_ega",
    cases=("c1",),
)
ROWS["itrd_ega"] = dataclasses.replace(ROWS["itrd_ega"], cases=("c0",))

# The same numbers where the methods take their other path, which is meant for large problems.
for _name, _patch in {
    "crd": (CRD, "product_up_to", 0),
    "rrd_bank": (CRD, "product_up_to", 0),
    "rkd": (rkd, "NUMBERS_AT_ONCE", 1),
}.items():
    ROWS[f"{_name}, large"] = dataclasses.replace(
        ROWS[_name], fixture=ROWS[_name].fixture or _name, patch=_patch
    )


def cases(name: str) -> tuple[str, ...]:
    """The cases that a row compares."""
    return ROWS[name].cases or tuple(golden.names(ROWS[name].fixture or name))


def example(name, case="", dtype=None, inputs=None, **options) -> Example:
    """A row's example, by default of its first case, in the precision of ``inputs`` or float64."""
    row = ROWS[name]
    if dtype is None:
        floating = [x.dtype for x in (inputs or {}).values() if x.is_floating_point()]
        dtype = floating[0] if floating else torch.float64
    case = golden.load(row.fixture or name, case or cases(name)[0])
    return Example(row, case, dtype, inputs, **options)


def stored(name, case="", dtype=torch.float64, **changes):
    """The inputs of a row's case, some of them changed, or left out where the change is None."""
    fixture = golden.load(ROWS[name].fixture or name, case or cases(name)[0])
    inputs = golden.inputs(fixture, dtype) | changes
    return {item: value for item, value in inputs.items() if value is not None}
