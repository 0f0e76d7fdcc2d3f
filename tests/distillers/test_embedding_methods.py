"""Methods on embeddings and logits of a batch that have a fixture: loops over their formulas."""

import math
from operator import mul

import pytest
import torch
import torch.nn.functional as F

import distillers
from tests.distillers import golden
from tests.distillers.golden_rows import example
from tests.distillers.loops import draw


def drawn(student=4, teacher=4):
    s, t = draw((5, student), (5, teacher))
    return {"s_embedding": s, "t_embedding": t}


# ---- CC ------------------------------------------------------------------------------------------


def taylor(gamma, dot):
    return math.exp(-2 * gamma) * (1 + 2 * gamma * dot + (2 * gamma * dot) ** 2 / 2)


def gaussian(gamma, dot):
    return math.exp(-gamma * (2 - 2 * dot))  # ‖a − b‖² of unit vectors


@pytest.mark.parametrize(("order", "kernel"), [(2, taylor), (30, gaussian)])
def test_the_kernel_of_cc_against_a_loop(order, kernel):
    inputs = drawn(student=6)
    cc = example("cc", inputs=inputs, feature_dim=None, congruence="kernel", order=order)
    s, t = (F.normalize(inputs[f"{side}_embedding"], dim=1) for side in "st")
    pairs = [(kernel(0.4, float(s[i] @ s[j])), kernel(0.4, float(t[i] @ t[j])))
             for i in range(5) for j in range(5)]  # fmt: skip
    expected = sum((a - b) ** 2 for a, b in pairs) / 25
    assert cc.loss().item() == pytest.approx(expected, rel=1e-10)


def test_the_kernel_of_cc_trains_both_heads():
    cc = example("cc", inputs=drawn(student=6), congruence="kernel")
    cc.loss().backward()
    assert all(p.grad.abs().max() > 0 for p in cc.method.parameters())


# ---- DCD and PKT ---------------------------------------------------------------------------------


def test_dcd_against_a_loop():
    dcd = example("dcd", consistency_weight=0.7)
    s, t = (
        F.normalize(head(dcd.inputs[f"{side}_embedding"]), dim=1)
        for side, head in (("s", dcd.method.embed_student), ("t", dcd.method.embed_teacher))
    )
    exps = [[(torch.e * a @ b).exp() for b in t] for a in s]
    expected = 0.0
    for i, row in enumerate(exps):
        expected -= (row[i] / sum(row)).log() / len(s)
        for j in range(len(s)):
            p = row[j] / sum(row)
            q = exps[j][i] / sum(line[i] for line in exps)
            expected += 0.7 * q * (q / p).log() / len(s)
    torch.testing.assert_close(dcd.loss(), expected)


def test_the_scale_of_dcd_is_trained_on_demand():
    dcd = example("dcd", learn_scale=False)
    dcd.loss().backward()
    assert not dcd.method.log_scale.requires_grad and dcd.method.log_scale.grad is None
    golden.check_gradients(dcd.case, dcd.inputs)


def test_pkt_against_a_loop():
    inputs = drawn(student=7)
    probabilities = []
    for side in "st":
        rows = inputs[f"{side}_embedding"].tolist()
        kernel = [
            [(sum(map(mul, a, b)) / math.hypot(*a) / math.hypot(*b) + 1) / 2 for b in rows]
            for a in rows
        ]
        probabilities.append([[entry / sum(row) for entry in row] for row in kernel])
    s, t = probabilities
    expected = sum(t[i][j] * math.log(t[i][j] / s[i][j]) for i in range(5) for j in range(5)) / 25
    value = example("pkt", inputs=inputs).loss().item()
    assert value == pytest.approx(expected, rel=1e-4, abs=1e-7)  # without the two 1e-7


# ---- ITRD, EGA, RKD and IRG's ports --------------------------------------------------------------


def test_correlation_of_itrd_is_torchs():
    itrd = example("itrd_ega", "c0")
    s, t = itrd.method.embed(itrd.inputs["s_embedding"]), itrd.inputs["t_embedding"]
    s, t = ((x - x.mean(dim=0)) / x.std(dim=0) for x in (s, t))
    expected = ((s * t).mean(dim=0) - 1).abs().pow(3).sum().log2()
    torch.testing.assert_close(itrd.losses()["itrd.correlation"], expected)


def test_ega_is_torchs_correlation():
    both = example("itrd and ega")
    size = len(both.inputs["s_embedding"])
    stacked = torch.cat([both.inputs["t_embedding"], both.inputs["s_embedding"]])
    correlations = torch.corrcoef(stacked)
    edge = torch.linalg.norm(correlations[:size, :size] - correlations[size:, size:])
    node = torch.linalg.norm(correlations[:size, size:] - torch.eye(size))
    losses = both.losses()
    torch.testing.assert_close(losses["ega.node"], node)
    torch.testing.assert_close(losses["ega.edge"], 0.3 * edge)


def test_rkd_omits_a_term_of_weight_zero():
    assert set(example("rkd", angle_weight=0.0).losses()) == {"rkd.distance"}


def test_presets_of_irg_have_the_ports_weights():
    irg = example("irg_aberhu", dtype=torch.float32)
    networks = golden.StandIn(irg.student), golden.StandIn(irg.teacher), golden.info(irg.student)
    for preset in ("aberhu", "semckd"):
        irg.methods = [distillers.build("irg", *networks, preset=preset, ce=0.0)]
        if preset == "aberhu":
            golden.check_value(irg.case, "irg", irg.loss())
        else:
            assert set(irg.losses()) == {"kd", "irg.edge"}
