"""`report` of a board file alone: the runs of one protocol are one board, equal to the matrix's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.commands.report import protocols
from experiments.commands.report.table import Table
from experiments.commands.report.tuned_rows import Searches
from experiments.commands.teacher_scores import arrow
from experiments.commands.tuned import is_of_a_search
from results.leaderboard import Leaderboard
from results.schema import Record
from tools import check_tables

ROOT = Path(__file__).resolve().parents[4]
BOARDS = sorted((ROOT / "results/boards").glob("*.jsonl"))
DIGITS = ROOT / "results/boards/digits.jsonl"
Line = dict[str, Any]
METHODS = ("kd", "at")


def lines_of(path: Path = DIGITS) -> list[Line]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def written(folder: Path, lines: list[Line], name: str = "made.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def again(line: Line, run: str, **changes: Any) -> Line:
    """A copy of a line under another id, with changes of its spec: ``recipe__lr=0.1``."""
    copy: Line = json.loads(json.dumps(line))
    copy["run"] = run
    for path, value in changes.items():
        *groups, key = path.split("__")
        place = copy["spec"]
        for group in groups:
            place = place[group]
        place[key] = value
    return copy


# ---- equal to the matrix's table -----------------------------------------------------------------


def numbers(board: Leaderboard) -> dict[Any, Any]:
    """Cells and averages by the ids of their runs: labels may differ.

    What is n/a, so that no run is expected, a file alone cannot say.
    """
    found: dict[Any, Any] = {}
    rows = board.frame.set_index(["pair", "method"]).to_dict("index")
    for method in board.methods:
        cells = [cell for cell in board.cells if cell.method == method and cell.record]
        for pair in board.pairs:
            runs = frozenset(c.record.run for c in cells if c.pair == pair and c.record)
            row = rows[pair, method]
            known = ("mean", "std", "n", "expected", "best_mean", "teacher_accuracy")
            values = [row[k] for k in (*known, *(f"{m}_mean" for m in board.measures))]
            if runs:
                found[pair, runs] = [_known(v) for v in values]
        averages = [_known(board.average(method)), _known(board.delta(method))]
        found[frozenset(c.record.run for c in cells if c.record)] = averages
    return found


def _known(value: float) -> float | None:
    """None for nan, which equals nothing."""
    return round(float(value), 9) if value == value else None


def of_matrix() -> list[tuple[str, list[str]]]:
    """(board file, the arguments of `report` of its matrix), as the committed tables are made."""
    seen = {}
    for given in check_tables.committed().values():
        board = given[given.index("--runs") + 1]
        transfer = given[given.index("--transfer") + 1] if "--transfer" in given else ""
        flags = ["--transfer", transfer] if transfer else []
        seen[board, transfer] = [str(ROOT / given[0]), "--runs", str(ROOT / board), *flags]
    return [(board, arguments) for (board, _), arguments in seen.items()]


def test_every_board_is_compared():
    assert {ROOT / board for board, _ in of_matrix()} == set(BOARDS)


@pytest.mark.parametrize(("board", "arguments"), of_matrix(), ids=lambda x: " ".join(x[-2:]))
def test_numbers_are_those_of_the_matrix(reports, tmp_path, board, arguments):
    nothing = ["--data", str(tmp_path)]
    (matrix,) = reports.of(*arguments, *nothing)
    contents = reports.of(str(ROOT / board), *nothing)
    is_probe = "--transfer" in arguments
    alone = next(
        c for c in contents if bool(c.board.notes[:1] and "probes" in c.board.notes[0]) == is_probe
    )
    expected, found = matrix.board, alone.board
    assert numbers(found) == numbers(expected)
    assert found.measures == expected.measures
    assert (found.dataset, found.recipe, found.baseline) == (
        expected.dataset,
        expected.recipe,
        expected.baseline,
    )
    assert sorted(found.pairs) == sorted(expected.pairs) and found.teachers == expected.teachers
    ids = {run.id for run in matrix.runs if run.record}
    assert {run.id for run in alone.runs} == ids
    assert {f.name for f in alone.methods.values()} == {f.name for f in matrix.methods.values()}


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_run_of_a_board_is_shown_once(reports, path):
    contents = reports.of(str(path))
    shown = [run.id for content in contents for run in content.runs]
    lines = [line for line in lines_of(path) if not is_of_a_search(line["spec"])]
    assert sorted(shown) == sorted(line["run"] for line in lines)
    assert all(content.progress is None for content in contents)
    assert all(set(c.methods) == set(c.board.methods) for c in contents)


# ---- rows, pairs, order --------------------------------------------------------------------------


def test_rows_and_words(reports):
    (content,) = reports.of(str(DIGITS))
    assert content.name == "digits" and content.classes == tuple("0123456789")
    assert content.board.methods[:4] == (
        "Student alone",
        "KD",
        "AT (weight 250.0)",
        "CRD (negatives 1024)",
    )
    assert content.board.recipe.startswith("15 epochs, batch 64, SGD 0.9, lr 0.05 cosine to 0")
    teacher = content.runs[-1]
    assert (teacher.label, teacher.pair, teacher.state) == ("Teacher", "resnet20", "done")
    assert teacher.epoch == 15 and teacher.starts and teacher.directory == ""
    at = content.methods["AT (weight 250.0)"]
    assert at.name == "at" and next(o for o in at.options if o.name == "weight").value == "250.0"


def test_a_teachers_recipe_is_an_exception(reports):
    (content,) = reports.of(str(ROOT / "results/boards/cifar100-small.jsonl"))
    assert "teachers trained here: epochs 15" in content.board.exceptions
    assert sum(run.label == "Teacher" for run in content.runs) == 3


def test_options_that_differ_between_pairs(reports, tmp_path):
    lines = lines_of()
    kd = [line for line in lines if line["spec"]["method"] == "kd"]
    other = [again(x, f"kd{i}", student="resnet14", options__weight=0.5) for i, x in enumerate(kd)]
    (content,) = reports.of(written(tmp_path, [*lines, *other]))
    label = "KD (options by pair)"
    assert content.methods[label].exceptions["resnet20 → resnet14"] == "weight 0.5"
    assert f"{label}, resnet20 → resnet14: weight 0.5" in content.board.exceptions
    row = content.board.frame.set_index(["pair", "method"])["n"]
    assert (
        row["resnet20 → resnet14", label] == 3 and row["resnet20 → resnet14", "Student alone"] == 0
    )


def test_a_method_nobody_knows_here(reports, tmp_path):
    lines = lines_of()
    evil = "</script><script>alert('1')</script>" + "x" * 10_000
    theirs = [line for line in lines if line["spec"]["method"] == "dkd"]
    for line in theirs:
        line["spec"] |= {"method": evil, "options": {"sharpness": [1, 2]}}
    (content,) = reports.of(written(tmp_path, lines))
    label = next(label for label in content.board.methods if label.startswith(evil))
    facts = content.methods[label]
    assert (facts.name, facts.title, facts.formula, facts.family) == (evil, "", "", "")
    assert [(o.name, o.value) for o in facts.options] == [("sharpness", "[1, 2]")]


def test_a_method_of_a_plugin(own_registry, reports, tmp_path):
    lines = lines_of()
    for line in lines:
        if line["spec"]["method"] == "dkd":
            line["spec"] |= {"method": "my_method", "options": {}}
    plugin = ROOT / "tests/experiments/my_method.py"
    path = written(tmp_path, lines)
    (content,) = reports.of(path)
    assert content.methods["my_method"].formula == ""
    (content,) = reports.of(path, "--plugin", str(plugin))
    assert content.methods["Mine"].formula and content.methods["Mine"].family == "features"


def test_students_without_a_teacher_only(reports, tmp_path):
    lines = [
        x for x in lines_of() if not x["spec"]["teacher"] and x["spec"]["student"] == "resnet8"
    ]
    (content,) = reports.of(written(tmp_path, lines))
    assert content.board.pairs == ("none → resnet8",) and content.board.methods == (
        "Student alone",
    )
    assert len(content.runs) == 3 and content.board.teachers == {}


def test_a_teacher_that_is_a_student_too(reports, tmp_path):
    """resnet20 is taught by resnet56 here, so its run alone is the baseline there, too."""
    lines = lines_of()
    teacher = next(line for line in lines if line["spec"]["student"] == "resnet20")
    kd = next(line for line in lines if line["spec"]["method"] == "kd")
    one = again(
        kd, "one", student="resnet20", teacher={"name": "resnet56", "run": None, "sha256": "b" * 64}
    )
    one["teacher"] = {"name": "resnet56", "accuracy": 99.0, "sha256": "b" * 64}
    (content,) = reports.of(written(tmp_path, [*lines, one]))
    shown = {run.id: (run.label, run.pair) for run in content.runs}
    assert shown[teacher["run"]] == ("Student alone", "resnet56 → resnet20")
    assert len(shown) == len(content.runs) == 29


# ---- protocols -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe__epochs": 30},
        {"recipe__precision": "bf16"},
        {"recipe__threads": 2},
        {"dataset__subset": 100},
        {"dataset__validation": 50},
        {"dataset__name": "cifar10"},
        {"recipe_version": 2},
    ],
    ids=str,
)
def test_another_protocol_is_another_board(reports, tmp_path, changes):
    lines = lines_of()
    others = [
        again(x, f"b{i}", **changes) for i, x in enumerate(lines) if x["spec"]["method"] == "kd"
    ]
    first, second = reports.of(written(tmp_path, [*others, *lines]))
    assert (first.name, second.name) == ("made", "made-2")
    assert len(first.board.methods) == 9 and second.board.methods == ("KD",)
    assert {run.id for run in second.runs if run.label == "KD"} == {line["run"] for line in others}


def test_a_key_that_is_not_stored_was_at_its_default(reports, tmp_path):
    lines = lines_of()
    for line in lines[::2]:
        del line["spec"]["recipe"]["tf32"], line["spec"]["recipe_version"]
        line["spec"]["recipe"]["label_smoothing"] = 0.0
    (content,) = reports.of(written(tmp_path, lines))
    assert len(content.runs) == 28


def test_an_exception_of_the_rate_for_one_student(reports, tmp_path):
    lines = lines_of()
    students = [
        x
        for x in lines
        if x["spec"]["method"] in ("kd", "vanilla") and x["spec"]["student"] == "resnet8"
    ]
    other = [
        again(x, f"m{i}", student="MobileNetV2", recipe__lr=0.01) for i, x in enumerate(students)
    ]
    (content,) = reports.of(written(tmp_path, [*lines, *other]))
    assert content.board.exceptions[0] == "lr 0.01 for student MobileNetV2"
    assert content.board.pairs == ("resnet20 → MobileNetV2", "resnet20 → resnet8")


def test_two_rates_of_one_student_are_two_boards(reports, tmp_path):
    lines = lines_of()
    other = [
        again(x, f"m{i}", recipe__lr=0.1)
        for i, x in enumerate(lines)
        if x["spec"]["method"] == "kd"
    ]
    first, second = reports.of(written(tmp_path, [*lines, *other]))
    assert "lr 0.05" in first.board.recipe and "lr 0.1 " in second.board.recipe


def test_other_weights_of_the_teacher_are_another_board(reports, tmp_path):
    lines = lines_of()
    kd = [x for x in lines if x["spec"]["method"] == "kd"]
    other = [again(x, f"w{i}") for i, x in enumerate(kd)]
    for line in other:
        line["teacher"] = {**line["teacher"], "sha256": "c" * 64, "accuracy": 50.0}
    first, second = reports.of(written(tmp_path, [*lines, *other]))
    assert (
        second.board.methods == ("Student alone", "KD") and second.board.baseline == "Student alone"
    )
    assert second.board.teachers["resnet20 → resnet8"].accuracies == (50.0,)
    assert first.board.teachers["resnet20 → resnet8"].accuracies != (50.0,)


def test_a_teacher_per_trial_is_one_board(reports, tmp_path):
    lines = lines_of()
    for line in lines:
        if line["spec"]["teacher"]:
            trial = line["spec"]["trial"]
            line["spec"]["teacher"]["run"] = f"t{trial}"
            line["teacher"] |= {
                "run": f"t{trial}",
                "sha256": str(trial) * 64,
                "accuracy": 90.0 + trial,
            }
    (content,) = reports.of(written(tmp_path, lines))
    assert content.board.teachers["resnet20 → resnet8"].accuracies == (90.0, 91.0, 92.0)


def test_other_versions_and_second_runs_have_rows_of_their_own(reports, tmp_path):
    lines = lines_of()
    kd = [x for x in lines if x["spec"]["method"] == "kd"]
    newer = [again(x, f"v{i}", method_version=2) for i, x in enumerate(kd)]
    code = again(kd[0], "p", plugins=["abcdef0123"])
    (content,) = reports.of(written(tmp_path, [*lines, *newer, code]))
    rows = {cell.method: 0 for cell in content.board.cells if cell.method[:2] == "KD"}
    for cell in content.board.cells:
        if cell.method in rows and cell.record:
            rows[cell.method] += 1
    assert rows == {"KD": 3, "KD [version 1]": 3, "KD [version 1, run 2]": 1}


def test_probes_whose_students_are_not_there(reports, tmp_path):
    path = ROOT / "results/boards/transfer-cpu.jsonl"
    probes = [line for line in lines_of(path) if line["spec"].get("source")]
    (content,) = reports.of(written(tmp_path, probes))
    assert content.board.methods == ("Student alone", "KD", "CRD")
    assert content.board.pairs == ("none → resnet20",) and len(content.runs) == 3


# ---- parts, baselines, sources, histories --------------------------------------------------------


def test_a_part(reports):
    (content,) = reports.of(str(DIGITS), "--methods", "kd", "AT*", "--trials", "0", "2")
    assert content.board.methods == ("KD", "AT (weight 250.0)") and content.board.baseline is None
    assert {cell.trial for cell in content.board.cells} == {0, 2}
    small = ROOT / "results/boards/cifar100-small.jsonl"
    (content,) = reports.of(str(small), "--pairs", "wrn_16_2 -> *", "--baseline", "kd")
    assert len(content.board.pairs) == 3 and content.board.all_pairs == 6
    assert content.board.baseline == "KD"


def test_groups_without_what_is_asked_for_are_left_out(reports):
    path = str(ROOT / "results/boards/transfer-cpu.jsonl")
    assert len(reports.of(path, "--methods", "kd")) == 2
    with_source = reports.of(path, "--published", "tian2020crd")
    assert [len(content.board.published) for content in with_source] == [1, 0]


def test_histories(reports, tmp_path):
    lines = lines_of()
    text = 'stage,epoch\nmain,1\n"measures":{\n'
    lines[3]["history"] = text
    lines[4].pop("history", None)
    (content,) = reports.of(written(tmp_path, lines))
    assert content.history(lines[3]["run"]) == text and content.history(lines[4]["run"]) == ""


def test_a_board_file_without_a_run(reports, tmp_path):
    from tests.experiments import cli

    called = cli.call("report", written(tmp_path, []), "--output", "x")
    assert called.code == 2 and called.err.endswith("made.jsonl: no finished run there\n")


def test_a_data_set_that_is_none(reports, tmp_path):
    from tests.experiments import cli

    lines = [again(x, x["run"], dataset__subset="many") for x in lines_of()]
    called = cli.call("report", written(tmp_path, lines), "--output", "x")
    assert called.code == 2 and called.err.count("\n") == 1 and "spec.dataset" in called.err


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("student", None), ("teacher", "resnet20"), ("teacher", {"name": []}), ("method", []),
        ("trial", "x"), ("trial", -1), ("options", "x"), ("recipe", []), ("recipe", {"lr": []}),
        ("method_version", None), ("dataset", {"name": "digits", "subset": -1}), ("source", "x"),
    ],
)  # fmt: skip
def test_a_spec_of_another_form_is_one_line(reports, tmp_path, key, value):
    from tests.experiments import cli

    lines = lines_of()
    lines[5]["spec"][key] = value
    called = cli.call("report", written(tmp_path, lines), "--output", "x")
    assert called.code == 2 and called.err.count("\n") == 1, called.err
    assert f"made.jsonl: run {lines[5]['run']}.spec.{key}" in called.err


def test_a_data_set_that_is_not_known_here(reports, tmp_path):
    lines = [again(x, x["run"], dataset__name="digitz") for x in lines_of()]
    (content,) = reports.of(written(tmp_path, lines))
    assert content.board.dataset.startswith("digitz") and len(content.board.methods) == 9


def test_a_recipe_of_another_version(reports, tmp_path):
    lines = lines_of()
    for line in lines:
        line["spec"]["recipe"]["warp"] = 3
    (content,) = reports.of(written(tmp_path, lines))
    assert content.board.recipe == "" and len(content.board.methods) == 9


# ---- chains and ensembles ------------------------------------------------------------------------


def record_of(run: str, method: str, student: str, teacher: dict[str, Any] | None) -> Record:
    spec = {"method": method, "student": student, "teacher": teacher, "trial": 0}
    return Record(format=1, run=run, spec=spec, accuracy={"last": {"top1": 50.0}})


def test_a_chain_on_a_board_is_no_plain_pair():
    """One table for all methods, each with an assistant of its own."""
    made = [
        record_of("t", "vanilla", "resnet20", None),
        *(record_of(f"a-{m}", m, "resnet14", {"name": "resnet20", "run": "t"}) for m in METHODS),
        *(
            record_of(f"s-{m}", m, "resnet8", {"name": "resnet14", "run": f"a-{m}"})
            for m in METHODS
        ),
        record_of("by", "at", "resnet8", {"name": "resnet14", "run": "a-kd"}),
    ]
    (group,) = protocols.groups({record.run: record for record in made})
    pairs = {item.record.run: (item.pair, item.plain_pair) for item in group.items}
    plain, by = "resnet20 -> resnet14 -> resnet8", "resnet20 -> resnet14 by kd -> resnet8"
    assert pairs == {"s-kd": (by, plain), "s-at": (plain, plain), "by": (by, by)}
    assert {record.run for record in group.teachers} == {"t", "a-kd", "a-at"}
    table = Table.of(group, Searches({}))
    found = {(c.pair, c.method): c.record.run for c in table.cells if c.record}
    plain, by = arrow(plain), arrow(by)
    assert found == {
        (plain, "KD"): "s-kd",
        (plain, "AT"): "s-at",
        (by, "KD"): "s-kd",
        (by, "AT"): "by",
    }
    assert len(table.runs()) == 6


def test_an_assistant_that_is_a_student_too():
    """Its pair has runs of its own, such as a second trial: it is a pair of the table."""
    made = [
        record_of("t", "vanilla", "resnet20", None),
        record_of("a", "kd", "resnet14", {"name": "resnet20", "run": "t"}),
        record_of("b", "dkd", "resnet14", {"name": "resnet20", "run": "t"}),
        record_of("s", "kd", "resnet8", {"name": "resnet14", "run": "a"}),
    ]
    (group,) = protocols.groups({record.run: record for record in made})
    assert {item.record.run for item in group.items} == {"a", "b", "s"}


def test_the_members_of_an_ensemble_are_its_teachers():
    members = [{"name": "resnet20", "run": "t"}, {"name": "resnet14", "run": "u"}]
    made = [
        record_of("t", "vanilla", "resnet20", None),
        record_of("u", "vanilla", "resnet14", None),
        record_of("s", "kd", "resnet8", {"name": "resnet20+resnet14", "members": members}),
    ]
    (group,) = protocols.groups({record.run: record for record in made})
    assert [item.record.run for item in group.items] == ["s"]
    assert [record.run for record in group.teachers] == ["t", "u"]


def test_a_circle_of_teachers_ends():
    made = {
        "a": record_of("a", "kd", "resnet8", {"name": "resnet14", "run": "b"}),
        "b": record_of("b", "kd", "resnet14", {"name": "resnet8", "run": "a"}),
    }
    assert sum(len(group.items) for group in protocols.groups(made)) == 2
