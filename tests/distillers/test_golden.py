"""Methods against the numbers of their reference code: one test over the table of fixtures.

DOT (test_dot.py), SDD's regions (test_sdd.py), GK-DFD and IRG compare other things than losses.
"""

import pytest
import torch

from distillers.fsp import flow
from distillers.lskd import standardised
from tests.distillers import golden
from tests.distillers.golden_rows import ROWS, cases, example

EVERY = [
    (name, case, dtype)
    for name, row in ROWS.items()
    for case in cases(name)
    for dtype in golden.DTYPES
    if dtype == torch.float32 or case not in row.float32_only
]
IDS = ["-".join((name, case, str(dtype).removeprefix("torch."))) for name, case, dtype in EVERY]
ELSEWHERE = {"dot", "gkdfd", "irg"}


@pytest.mark.parametrize(("name", "case", "dtype"), EVERY, ids=IDS)
def test_values_gradients_and_state(name, case, dtype, monkeypatch):
    row = ROWS[name]
    if row.patch:
        monkeypatch.setattr(*row.patch)
    made = example(name, case, dtype)
    value = made.check_values()
    made.row.after(made)
    if row.gradients:
        value.backward()
        golden.check_gradients(made.case, made.inputs)
        if row.parameters:
            made.check_parameters()
        else:
            assert not any(p.requires_grad for method in made.methods for p in method.parameters())


def test_every_fixture_is_compared():
    compared = {row.fixture or name for name, row in ROWS.items()}
    assert compared | ELSEWHERE == {file.stem for file in golden.FOLDER.glob("*.npz")}
    for fixture in compared - {"sdd"}:
        rows = [name for name, row in ROWS.items() if (row.fixture or name) == fixture]
        assert {case for name in rows for case in cases(name)} == set(golden.names(fixture))


# ---- intermediate results ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["at", "nst"])
@pytest.mark.parametrize("case", ["c0", "c1", "c2"])
def test_stages(name, case):
    inputs = golden.inputs(golden.load(name, case), torch.float64)
    stages = [item for item in golden.load(name, case).groups["out64"] if item.startswith("stage")]
    for stage in range(len(stages)):
        pair = {f"{side}_feat0": inputs[f"{side}_feat{stage}"] for side in "st"}
        made = example(name, case, inputs=pair)
        golden.check_value(made.case, f"stage{stage}", made.loss())


@pytest.mark.parametrize("case", golden.names("fsp"))
def test_flow_matrices_of_fsp(case):
    case = golden.load("fsp", case)
    inputs = golden.inputs(case, torch.float64)
    matrices = [item for item in case.groups["aux"] if item.startswith("s_fsp")]
    assert matrices
    for i, item in enumerate(matrices):
        matrix = flow(inputs[f"s_feat{i}"], inputs[f"s_feat{i + 1}"])
        expected = case.tensor("aux", item, torch.float64)
        torch.testing.assert_close(matrix, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", golden.names("lskd"))
@pytest.mark.parametrize("side", ["s", "t"])
def test_standardised_logits_of_lskd(case, side):
    case = golden.load("lskd", case)
    logits = standardised(case.tensor("in", f"{side}_logits"))
    torch.testing.assert_close(logits, case.tensor("aux", f"{side}_standardised"))


@pytest.mark.parametrize("case", golden.names("semckd"))
def test_attention_of_semckd(case):
    semckd = example("semckd", case)
    attention = semckd.method._attention(semckd.student.features[1:], semckd.teacher.features[1:])
    expected = semckd.case.tensor("aux", "attention", torch.float64)
    torch.testing.assert_close(attention, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(attention.sum(dim=2), torch.ones(attention.shape[:2]).double())


@pytest.mark.parametrize("case", golden.names("simkd"))
def test_predictions_of_simkd(case):
    simkd = example("simkd", case)
    expected = simkd.case.tensor("aux", "pred_logits", torch.float64)
    predictions = simkd.method.predict(simkd.student)
    torch.testing.assert_close(predictions, expected, rtol=1e-5, atol=1e-6)
