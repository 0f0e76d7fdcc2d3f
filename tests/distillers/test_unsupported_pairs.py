"""Pairs that a method with a fixture does not support, and the reason it gives."""

import dataclasses

import pytest
import torch

from distillers import Unsupported
from tests.distillers import golden
from tests.distillers.golden_rows import example, stored


def embeddings(student, teacher):
    return {"s_embedding": torch.rand(5, student), "t_embedding": torch.rand(5, teacher)}


def built(name, student, teacher):
    return golden.build(name, student, teacher, torch.float32)


def mgd_on_a_small_map():
    mgd = example("mgd")
    return built("mgd", mgd.student.map(lambda m: m[..., :2] if m.ndim == 4 else m), mgd.teacher)


def ofd_without_norms(*norms):
    ofd = example("ofd")
    network = golden.StandIn(ofd.teacher, preact_norms=norms)
    golden.build(
        "ofd", golden.StandIn(ofd.student), network, torch.float32, golden.info(ofd.student)
    )


def simkd_without_a_classifier():
    simkd = example("simkd")
    built("simkd", simkd.student, simkd.teacher)


def vitkd_with_tokens(student=slice(None), teacher=slice(None), layers=3):
    vitkd = example("vitkd")

    def shown(outputs, places):
        return dataclasses.replace(outputs, tokens=tuple(t[:, places] for t in outputs.tokens))

    short = shown(vitkd.student, student)
    short = dataclasses.replace(short, tokens=short.tokens[:layers])
    built("vitkd", short, shown(vitkd.teacher, teacher))


def vitkd_on_maps():
    mgd = example("mgd")
    built("vitkd", mgd.student, mgd.teacher)


PAIRS = [
    (lambda: example("ab", inputs=stored("ab", t_preact1=None)),
     "student has 2 stages, the teacher 1"),
    (lambda: example("cc", inputs=embeddings(6, 4), feature_dim=None),
     r"one width, not 6 .* and 4"),
    (lambda: example("ctkd", kd=0.0), r"kd is 0; expected ctkd\+NAME\+kd or ctkd\+dkd"),
    (lambda: example("fitnet", hint_layer=2), "hint_layer 2 of 2 feature maps"),
    (lambda: example("fsp", inputs=stored("fsp", t_feat1=torch.rand(4, 12, 4, 4))),
     r"\[4, 6, 8\] channels, the teacher's \[4, 12, 8\]"),
    (lambda: example("irg_aberhu", inputs=stored("irg_aberhu", s_feat1=None)),
     r"two stages .*, got 1 \(student\) and 2"),
    (lambda: example("itrd and ega", inputs=embeddings(10, 14)), r"one width, not 10 .* and 14"),
    (lambda: example("kdsvd as in mdistiller", vectors="channels"),
     r"equal channels, stage 1 has 3 .* and 4"),
    (mgd_on_a_small_map, "student's last map is 4×2, the teacher's 4×4"),
    (ofd_without_norms, r"margins from the batch norm .* stand-in lacks"),
    (lambda: ofd_without_norms(None, None, None), r"margins from the batch norm .* stand-in lacks"),
    (lambda: example("semckd", inputs={k: v[:3] for k, v in stored("semckd").items()}),
     "batches of 3; expected at least 4"),
    (simkd_without_a_classifier, "simkd needs classifier"),
    (lambda: vitkd_with_tokens(student=slice(4)), "student has 4 tokens, the teacher"),
    (lambda: vitkd_with_tokens(slice(8), slice(8)), "student has 8 tokens, the teacher"),
    (lambda: vitkd_with_tokens(layers=2), "expected more than 2 layers"),
    (vitkd_on_maps, "vitkd needs tokens"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "reason"), PAIRS, ids=[reason for _, reason in PAIRS])
def test_the_reason_is_given(build, reason):
    with pytest.raises(Unsupported, match=reason):
        build()
