"""The table of golden fixtures: which of our methods, options and terms are which of the reference.

A new fixture golden/NAME.npz needs one row here; `Row` in golden_example.py explains its fields.
Tests of what is particular about a method build it with `example`:

    at = example("at", "c1", power=3)
    at.loss().backward()
    at.inputs["s_feat0"].grad
"""

from __future__ import annotations

import dataclasses

import torch

import distillers
from distillers import rkd, sdd
from distillers.crd import CRD
from tests.distillers import golden
from tests.distillers import golden_particulars as its
from tests.distillers.golden_example import Example, Ref, Row

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
    "crd": Row(
        {"crd": BANKS},
        parameters=HEADS, prepare=its.given_banks, after=its.two_steps_of_banks,
    ),
    "crd_queue": Row(
        {"crd_queue": {"feature_dim": Ref("feat_dim"), "negatives": Ref("nce_k"),
                       "temperature": Ref("nce_t")}},
        parameters=HEADS, prepare=its.given_queue, after=its.check_queue,
    ),
    "ctkd": Row(
        {"ctkd+kd": {"kd": 1.0, "initial_temperature": Ref("t_start"),
                     "temperature_range": Ref("t_end"), "curriculum": Ref("decay_loops")}},
        parameters={r"temp\.global_T": "theta"},
        prepare=its.initial_theta, after=its.check_temperature,
    ),
    "dcd": Row(
        {"dcd": {"feature_dim": Ref("feat_dim"), "consistency_weight": Ref("alpha"),
                 "max_scale": Ref("max_tau"), "learn_scale": Ref("trainable")}},
        terms=lambda x, h: {"contrastive": x["dcd.contrastive"]},
        parameters={r"dcd\.params\.tau": "log_scale", r"dcd\.embed_s": "embed_student",
                    r"dcd\.embed_t": "embed_teacher"},
        omitted=r"dcd\.params\.b",  # cancels in all soft-maxes
        prepare=its.initial_scale,
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
    "fsp": Row({"fsp": {}}, outputs=its.without_stem, initial=True),
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
        terms=its.itrd_and_ega_terms, parameters={r"itrd\.embed\.linear": "embed"},
    ),
    "kd": Row(
        {"kd": {"ce": Ref("ce_weight"), "kd": Ref("kd_weight"), "kd_temperature": Ref("T")}},
        terms=lambda x, h: {"md_loss_ce": x["ce"], "md_loss_kd": x["kd"],
                            "kd": x["kd"] / h.kd_weight},
    ),
    "kd_clskd": Row(
        {"kd": {"variant": "cross_entropy", "kd": Ref("alpha"), "kd_temperature": Ref("temp")}},
    ),
    "kdsvd": Row({"kdsvd": {"vectors": "channels"}}, prepare=its.given_signs, cases=("c0", "c1")),
    "kdsvd as in mdistiller": Row(
        {"kdsvd": {"vectors": "width"}}, prepare=its.given_signs,
        fixture="kdsvd", cases=("c2",), float32_only=("c2",),
    ),
    "lskd": Row(
        {"lskd+kd": {"kd": Ref("kd_weight"), "kd_temperature": Ref("T")},
         "lskd+dkd": {"temperature": Ref("T"), "alpha": Ref("alpha"), "beta": Ref("beta")},
         "lskd+mlkd": {"weight": Ref("kd_weight"), "temperature": Ref("T")}},
        terms=its.lskd_terms, outputs=its.with_strong_view,
    ),
    "mgd": Row(
        {"mgd": {"weight": Ref("alpha_mgd"), "mask_ratio": Ref("lambda_mgd")}},
        parameters={r"mgd\.": ""}, prepare=its.given_channel_mask,
    ),
    "mlkd": Row(
        {"mlkd": {"ce": Ref("ce_weight"), "weight": Ref("kd_weight"), "temperature": Ref("T")}},
        terms=lambda x, h: {"loss_ce": x["ce"], "loss_kd": x["mlkd.instance"],
                            "loss_cc": x["mlkd.class"], "loss_bc": x["mlkd.batch"]},
        outputs=its.with_strong_view,
    ),
    "nkd": Row({"nkd": {"temperature": Ref("temp"), "gamma": Ref("gamma")}}),
    "nst": Row({"nst": {}}),
    "ofd": Row(
        {"ofd": {"weight": Ref("feat_weight")}},
        terms=lambda x, h: {"ofd_unweighted": x["ofd"] / h.feat_weight},
        parameters={r"connectors\.connectors": "connectors"},
        networks=its.teacher_norms, after=its.check_margins,
    ),
    "pkt": Row({"pkt": {}}),
    "reviewkd": Row(
        {"reviewkd": {"weight": Ref("weight"), "warmup": Ref("warmup"),
                      "mid_channels": Ref("mid_channel"), "student_preacts": Ref("stu_preact")}},
        parameters={r"abfs\.(\d+)\.conv1": r"fusions.\1.reduce",
                    r"abfs\.(\d+)\.att_conv\.0": r"fusions.\1.attention",
                    r"abfs\.(\d+)\.conv2": r"fusions.\1.expand"},
        outputs=its.maps_or_preacts,
    ),
    "reviewkd after the warm-up": Row(
        {"reviewkd": {"warmup": Ref("warmup"), "mid_channels": Ref("mid_channel"),
                      "student_preacts": Ref("stu_preact")}},
        terms=lambda x, h: {"hcl": x["reviewkd"]},
        outputs=its.maps_or_preacts, fixture="reviewkd", epoch=240, gradients=False,
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
        prepare=its.given_queue, after=its.two_steps_of_a_queue, cases=("c0", "c1"),
    ),
    "rrd_bank": Row(
        {"rrd_bank": {**BANKS, "student_temperature": Ref("nce_t_s"),
                      "teacher_temperature": Ref("nce_t_t")}},
        parameters=HEADS, untrained=("embed_teacher",),
        prepare=its.given_banks, after=its.check_banks, fixture="rrd", cases=("c2",),
    ),
    "sdd": Row(
        {"sdd+kd": {**SDD, "kd": Ref("kd_weight"), "kd_temperature": Ref("T")},
         "sdd+dkd": {**SDD, "alpha": Ref("alpha"), "beta": Ref("beta"), "temperature": Ref("T"),
                     "warmup": Ref("warmup")},
         "sdd+nkd": {**distillers.defaults("sdd+nkd", "sdd"), **SDD, "ce": 0.0,
                     "gamma": Ref("nkd_gamma"), "temperature": Ref("T"), "warmup": Ref("warmup")}},
        terms=its.sdd_terms, outputs=its.regions, networks=its.two_classifiers,
        cases=("c0", "c1"), patch=(sdd, "region_logits", its.regions_given),
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
        outputs=its.final_map, networks=its.teacher_classifier,
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
        outputs=its.map_or_embedding, networks=its.teacher_classifier,
        fixture="srrl", cases=("c0", "c1"),
    ),
    "srrl on embeddings": Row(
        {"srrl": {"on": "embedding", "feature_weight": 1.0, "regression_weight": 1.0}},
        parameters={r"srrl\.transfer": "connector"},
        networks=its.teacher_classifier, fixture="srrl", cases=("c2",),
    ),
    "uskd": Row(
        {"uskd": {"alpha": Ref("alpha"), "beta": Ref("beta"), "mu": Ref("mu"),
                  "rank_space": "log_probabilities"}},
        parameters={r"uskd\.fc": "weak_head"}, outputs=its.middle_map,
    ),
    "uskd by part": Row(
        {"uskd": {"alpha": 1.0, "beta": 1.0, "mu": 1.0, "rank_space": "log_probabilities"}},
        terms=lambda x, h: {"target": x["uskd.target"], "nontarget": x["uskd.others"],
                            "weak_mu1": x["uskd.weak"]},
        outputs=its.middle_map, fixture="uskd", gradients=False,
    ),
    "vid": Row(
        {"vid": {"initial_variance": Ref("init_pred_var"), "hidden_channels": Ref("mid_channels")}},
        parameters={r"vid\.log_scale": "predictors.0.log_scale",
                    r"vid\.regressor": "predictors.0.mean"},
        prepare=its.initial_variance,
    ),
    "vitkd": Row(
        {"vitkd": {"mimic_weight": Ref("alpha_vitkd"), "generation_weight": Ref("beta_vitkd"),
                   "mask_ratio": Ref("lambda_vitkd")}},
        terms=lambda x, h: {"mimic": x["vitkd.mimic"], "generation": x["vitkd.generation"]},
        parameters={r"vitkd\.align2": "mimics", r"vitkd\.": ""},
        outputs=its.tokens, prepare=its.given_token_mask,
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
