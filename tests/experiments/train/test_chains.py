"""Chains and ensembles, trained from one matrix and by hand in several: the same weights."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.plan import jobs
from experiments.plan.plan import Plan, prepare
from experiments.plan.workspace import Workspace
from experiments.rundir.layout import weights_of
from experiments.rundir.status import State, Status
from models.checkpoints.files import sha256
from tests.experiments import cli

SMALL: dict[str, Any] = {
    "dataset__train_size": 32,
    "dataset__image_size": 8,
    "recipe__epochs": 1,
    "trials": 1,
}
AT = {"name": "at", "options": {"weight": 500.0}}
CHAIN, ENSEMBLE = "resnet20 -> resnet14 -> resnet8", "[resnet20, resnet14] -> resnet8"
# A network that is the ensemble by other means, from the files of its members.
BY_HAND = """
import math
import torch
import models
from models.outputs import Outputs


class Mean(models.Classifier):
    def __init__(self, num_classes):
        super().__init__()
        self.one = models.build("resnet20", num_classes)
        self.other = models.build("resnet14", num_classes)

    def outputs(self, x, preacts=False, blocks=False):
        logs = torch.stack([net(x).log_softmax(-1) for net in (self.one, self.other)])
        return Outputs(logs.logsumexp(0) - math.log(2))

    classifier = None
    preact_norms = ()

    def feature_modules(self):
        return torch.nn.ModuleList()


models.register("mean_by_hand", Mean)
"""


def write(folder: Path, **keys: Any) -> Path:
    folder.mkdir(exist_ok=True)
    return cli.write(folder, **{**SMALL, **keys})


def trained(matrix: Path) -> dict[tuple[str, str], Status]:
    """(pair, label) -> each entry of a matrix, after all its jobs, in the order of `run`."""
    plan = plan_of(matrix, strict=True)
    template = plan.template(save_minutes=10.0)
    tasks = jobs.tasks(list(plan.statuses().values()), template, plan.teacher_files, None)
    cli.run_inline(tasks, ["cpu"], None)
    found = states(matrix)
    assert {s.state for s in found.values()} <= {State.DONE, State.UNSUPPORTED}, found
    return found


def plan_of(matrix: Path, strict: bool = False) -> Plan:
    place = Workspace(matrix.parent / "runs", matrix.parent / "data", "cpu")
    return prepare(str(matrix), place, strict=strict)


def states(matrix: Path) -> dict[tuple[str, str], Status]:
    plan = plan_of(matrix)
    statuses = plan.statuses()
    return {(e.pair, e.label): statuses[e.spec.id] for e in plan.expansion.entries}


def file_of(matrix: Path, status: Status) -> Path:
    return weights_of(status.spec.directory(matrix.parent / "runs"))


def digest(matrix: Path, status: Status) -> str:
    assert status.state == State.DONE, status
    return sha256(file_of(matrix, status))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The matrix of a chain and an ensemble, everything trained."""
    folder = tmp_path_factory.mktemp("chains")
    matrix = write(folder, pairs=[CHAIN, ENSEMBLE], methods=["kd", AT])
    trained(matrix)
    return matrix


@pytest.fixture
def copied(done: Path, tmp_path: Path) -> Path:
    shutil.copytree(done.parent, tmp_path / "copy")
    return tmp_path / "copy" / done.name


def given(matrix: Path, name: str, status: Status) -> dict[str, Any]:
    return {name: {"file": str(file_of(matrix, status))}}


def teacher(matrix: Path, name: str) -> Status:
    statuses = plan_of(matrix).statuses().values()
    return next(s for s in statuses if s.spec.student == name and s.spec.teacher is None)


def test_a_chain_ends_as_two_matrices_do(done, tmp_path):
    one = write(
        tmp_path / "one",
        pairs=["resnet20 -> resnet14"],
        methods=[AT],
        teachers=given(done, "resnet20", teacher(done, "resnet20")),
    )
    assistant = trained(one)["resnet20 -> resnet14", "AT"]
    two = write(
        tmp_path / "two",
        pairs=["resnet14 -> resnet8"],
        methods=[AT],
        teachers=given(one, "resnet14", assistant),
    )
    by_hand = digest(two, trained(two)["resnet14 -> resnet8", "AT"])
    assert digest(done, states(done)[CHAIN, "AT"]) == by_hand


def test_an_ensemble_ends_as_a_network_that_averages_by_hand(done, tmp_path, own_registry):
    import torch
    from safetensors.torch import load_file, save_file

    files = {"one": file_of(done, teacher(done, "resnet20"))}
    files["other"] = file_of(done, teacher(done, "resnet14"))
    state: dict[str, torch.Tensor] = {
        f"{name}.{key}": value
        for name, path in files.items()
        for key, value in load_file(path).items()
    }
    matrix = write(
        tmp_path / "hand",
        pairs=["mean_by_hand -> resnet8"],
        methods=["kd"],
        plugins=["by_hand.py"],
        teachers={"mean_by_hand": {"file": "mean.safetensors"}},
    )
    (tmp_path / "hand" / "by_hand.py").write_text(BY_HAND)
    (tmp_path / "hand" / "data").mkdir()
    save_file(state, tmp_path / "hand" / "data" / "mean.safetensors")
    by_hand = trained(matrix)["mean_by_hand -> resnet8", "KD"]
    assert digest(done, states(done)[ENSEMBLE, "KD"]) == digest(matrix, by_hand)


# ---- what is recorded ----------------------------------------------------------------------------


def test_a_result_has_the_members_and_their_accuracies(done):
    record = states(done)[ENSEMBLE, "KD"].record
    assert record is not None and record.teacher is not None
    used, members = record.teacher, record.teacher.members
    own = [teacher(done, name) for name in ("resnet20", "resnet14")]
    assert [m.run for m in members] == [status.spec.id for status in own]
    assert [m.sha256 for m in members] == [digest(done, status) for status in own]
    assert [m.accuracy for m in members] == [status.record.top1 for status in own]
    assert (used.name, used.run) == ("resnet20+resnet14", None)
    text = "".join(f"{member.sha256}\n" for member in members)
    assert used.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert used.accuracy is not None


def test_a_chains_result_names_its_assistant(done):
    found = states(done)[CHAIN, "KD"]
    assistant = plan_of(done).statuses()[found.spec.needs[0]]
    used = found.record.teacher
    assert (used.name, used.run) == ("resnet14", assistant.spec.id)
    assert (used.sha256, used.accuracy) == (digest(done, assistant), assistant.record.top1)


def test_other_results_have_no_members(done):
    text = file_of(done, states(done)[CHAIN, "KD"]).with_name("result.json").read_text()
    assert "members" not in text


def test_what_reads_more_than_logits_is_not_for_an_ensemble(done):
    found = states(done)[ENSEMBLE, "AT"]
    assert found.state == State.UNSUPPORTED
    assert found.detail == "at needs features, which resnet20+resnet14 lacks"


def test_the_predictions_of_an_ensemble_are_made_again(copied):
    status = states(copied)[ENSEMBLE, "KD"]
    runs, directory = copied.parent / "runs", status.spec.directory(copied.parent / "runs")
    (kept,) = (runs / "fake" / "teachers").iterdir()
    before, measures = kept.read_bytes(), (directory / "measures.json").read_text()
    kept.unlink()
    for name in ("measures.json", "predictions.safetensors"):
        (directory / name).unlink()
    places = ("--runs", str(runs), "--data", str(copied.parent / "data"), "--device", "cpu")
    called = cli.call("evaluate", str(directory), *places)
    assert called.code == 0, called.err
    assert "of images like resnet20+resnet14" in called.out
    assert kept.read_bytes() == before
    assert (directory / "measures.json").read_text() == measures


def test_the_table_has_the_first_teachers_and_the_assistants(done):
    shown = cli.command("table", done).out
    first = teacher(done, "resnet20").record.top1
    assert "\\[resnet20, resnet14] → resnet8" in shown and "resnet20 → resnet14 → resnet8" in shown
    row = next(line for line in shown.splitlines() if line.startswith("| Teacher"))
    assert f"{first:.2f}" in row.split("|")[2]
    assert "the assistant resnet14 has" in shown and " % (AT)" in shown
    assert "students of different teachers" not in shown


# ---- what goes wrong -----------------------------------------------------------------------------


def test_who_learned_from_a_member_of_other_weights_is_stale(copied):
    member = teacher(copied, "resnet14").spec.directory(copied.parent / "runs") / "result.json"
    content = json.loads(member.read_text())
    content["weights"]["sha256"] = "00" * 32
    member.write_text(json.dumps(content))
    found = states(copied)
    assert found[ENSEMBLE, "KD"].state == State.STALE
    assert found[ENSEMBLE, "KD"].detail == "its teacher has been trained again since"
    assert found[CHAIN, "KD"].state == State.DONE  # its resnet14 is another run


@pytest.mark.parametrize("name", ["resnet20", "resnet14"])
def test_a_damaged_member_blocks_who_is_to_learn_from_it(copied, name):
    status = states(copied)[ENSEMBLE, "KD"]
    shutil.rmtree(status.spec.directory(copied.parent / "runs"))
    file_of(copied, teacher(copied, name)).unlink()
    found = states(copied)[ENSEMBLE, "KD"]
    assert found.state == State.BLOCKED and "its teacher's weights are gone" in found.detail


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_job_whose_member_is_not_as_planned_is_blocked(copied, damage):
    """Between planning and training; the worker looks again."""
    plan = plan_of(copied)
    status = plan.statuses()[states(copied)[ENSEMBLE, "KD"].spec.id]
    todo = replace(status, state=State.TODO, record=None)
    directory = status.spec.directory(copied.parent / "runs")
    shutil.rmtree(directory)
    statuses = [todo, *(s for run, s in plan.statuses().items() if run != status.spec.id)]
    (task,) = jobs.tasks(statuses, plan.template(10.0), plan.teacher_files, None)
    assert len(task.job.members) == 2 and task.job.teacher is None
    assert task.after == status.spec.needs
    file = task.job.members[1]
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    cli.run_inline([task], ["cpu"], None)
    said = (directory / "blocked.txt").read_text()
    assert said.startswith("teacher resnet14: ")


def test_a_method_with_a_head_of_its_own_teaches_nobody(tmp_path):
    matrix = write(tmp_path / "heads", pairs=[CHAIN], methods=["simkd", "kd"])
    plan = plan_of(matrix, strict=True)
    statuses = plan.statuses()
    found = {(s.spec.method, s.spec.student): s for s in statuses.values()}
    last, assistant = found["simkd", "resnet8"], found["simkd", "resnet14"]
    assert last.state == assistant.state == State.UNSUPPORTED
    assert "simkd predicts with modules of its own" in last.detail
    assert assistant.detail == f"only runs that are n/a need it: {last.detail}"
    assert found["kd", "resnet8"].state == found["kd", "resnet14"].state == State.TODO
    tasks = jobs.tasks(list(statuses.values()), plan.template(10.0), {}, None)
    assert all(spec.method != "simkd" for task in tasks for spec in task.job.specs)
    matrix = write(tmp_path / "heads", pairs=[CHAIN, "resnet20 -> resnet14"], methods=["simkd"])
    states_now = {s.spec.student: s.state for s in plan_of(matrix).statuses().values()}
    assert states_now == {
        "resnet20": State.TODO,
        "resnet14": State.TODO,
        "resnet8": State.UNSUPPORTED,
    }


def test_an_assistant_that_cannot_be_makes_its_student_impossible(tmp_path):
    """AT cannot serve the ensemble that the chain begins with."""
    matrix = write(
        tmp_path / "x", pairs=["[resnet20, vgg8] -> resnet14 -> resnet8"], methods=["at"]
    )
    found = {s.spec.student: s for s in plan_of(matrix).statuses().values() if s.spec.teacher}
    assert {s.state for s in found.values()} == {State.UNSUPPORTED}
    assert found["resnet14"].detail == "at needs features, which resnet20+vgg8 lacks"
    assert found["resnet8"].detail.endswith(": at needs features, which resnet20+vgg8 lacks")
