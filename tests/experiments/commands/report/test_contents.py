"""`report` of a matrix: what its pages are made from, its flags, and how it is renewed."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import yaml

from results import formats
from results.report.content import Content, Run
from tests.experiments import cli
from tests.experiments.sending import claimed

PAIR = "resnet14 → resnet8"
EVIL = "</script><script>alert('1')</script>"


def by_row(content: Content) -> dict[str, list[Run]]:
    rows: dict[str, list[Run]] = {}
    for run in content.runs:
        rows.setdefault(run.label, []).append(run)
    return rows


def commands(content: Content) -> list[str]:
    assert content.progress
    return [
        step.command.partition(" --runs")[0].split(" ", 2)[2] for step in content.progress.steps
    ]


# ---- runs in every state -------------------------------------------------------------------------


def test_nothing_has_run(place, reports):
    content = reports.of_matrix(place.matrix)
    rows = by_row(content)
    assert list(rows) == ["Student alone", "KD", "FitNet", "Teacher"]
    assert {run.state for run in content.runs} == {"to do"}
    assert [run.trial for run in rows["KD"]] == [0, 1]
    kd = rows["KD"][0]
    assert (kd.pair, kd.epoch, kd.epochs, kd.record, kd.starts) == (PAIR, 0, 2, None, ())
    assert kd.spec["options"]["kd_temperature"] == 4.0
    assert content.history(kd.id) == ""
    assert not content.board.frame["n"].any() and content.board.measures == ()
    progress = content.progress
    assert progress and progress.active and dict(progress.counts) == {"to do": 7}
    assert progress.steps[0].reason == "train what is not done: 7 to do"
    assert commands(content) == [f"run {place.matrix}"]
    assert progress.groups[0] == ("resnet14", "Teacher", "0/1 done")
    assert content.classes == ("class0", "class1", "class2", "class3")


def test_everything_is_done(done, reports):
    content = reports.of_matrix(done.matrix)
    assert content.name == "matrix" and content.progress and not content.progress.active
    assert content.progress.steps == () and dict(content.progress.counts) == {"done": 7}
    assert [run.state for run in content.runs] == ["done"] * 7
    for run in content.runs:
        assert run.record and run.starts == run.record.starts and run.epoch == run.epochs == 2
        assert run.spec == run.record.spec and run.record.measures
        assert Path(run.directory).is_dir() and run.error == ""
        assert content.history(run.id) == (Path(run.directory) / "history.csv").read_text()
        assert content.history(run.id).startswith("stage,epoch")
    assert {"nll", "ece", "agreement"} <= set(content.board.measures)
    assert content.history("no such run") == ""


def test_numbers_are_the_tables(done, reports):
    content = reports.of_matrix(done.matrix)
    measures = ",".join(content.board.measures)
    for form in ("csv", "json", "markdown"):
        printed = cli.command("table", done.matrix, "--format", form, "--measures", measures)
        assert formats.to_text(content.board, form) == printed.out
    assert content.board.baseline == "Student alone"


def test_measures_of_another_training_are_left_out(done, reports):
    run = done.specs("kd")[0]
    path = run.directory(done.runs) / "measures.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "top1": found["top1"] + 10}))
    content = reports.of_matrix(done.matrix)
    records = {one.id: one.record for one in content.runs}
    assert records[run.id] and records[run.id].measures is None
    assert sum(one is not None and one.measures is not None for one in records.values()) == 6


def test_a_failed_run(done, reports):
    first = done.specs("kd")[0]
    directory = first.directory(done.runs)
    for name in ("result.json", "measures.json"):
        (directory / name).unlink()
    (directory / "starts.json").write_text(
        json.dumps([{"host": "a", "progress": True}, {"epoch": "x"}])
    )
    whole = f"Diverged: {EVIL}\n\nTraceback: {'x' * 10_000}"
    (directory / "error.txt").write_text(whole)
    content = reports.of_matrix(done.matrix)
    run = by_row(content)["KD"][0]
    assert (run.state, run.reason, run.error) == ("failed", f"Diverged: {EVIL}", whole)
    assert [start.host for start in run.starts] == ["a"]  # the entry of another version is left out
    progress = content.progress
    assert progress and not progress.active and progress.counts["failed"] == 1
    assert commands(content) == [f"logs {first.id}", f"retry {done.matrix}", f"run {done.matrix}"]
    assert progress.steps[0].reason == f"1 run failed: Diverged: {EVIL}"


def test_a_failed_teacher_blocks(place, reports):
    place.fail(place.teacher)
    content = reports.of_matrix(place.matrix)
    assert content.progress and content.progress.active  # the student alone is to do
    assert dict(content.progress.counts) == {"to do": 2, "blocked": 4, "failed": 1}
    first = content.progress.steps[0]
    assert first.reason.startswith("4 runs wait for the teacher resnet14, which failed: ValueError")
    assert commands(content) == [
        f"logs {place.teacher.id}",
        f"retry {place.matrix}",
        f"run {place.matrix}",
    ]
    (teacher,) = by_row(content)["Teacher"]
    assert (teacher.pair, teacher.state) == ("resnet14", "failed") and "Traceback" in teacher.error


def test_a_stale_run(done, reports):
    spec = done.specs("fitnet")[1]
    done.make_stale(spec)
    content = reports.of_matrix(done.matrix)
    run = by_row(content)["FitNet"][1]
    assert run.state == "stale" and "lr was 0.9" in run.reason and run.record is None
    assert content.progress and content.progress.steps[0].reason.startswith("train 1 stale run")
    (step,) = content.progress.steps
    assert step.command.endswith(" --redo-stale") and " run " in step.command


def test_a_running_run_is_active(done, reports):
    spec = done.specs("kd")[1]
    (spec.directory(done.runs) / "result.json").unlink()
    claimed(spec.directory(done.runs))
    content = reports.of_matrix(done.matrix)
    run = by_row(content)["KD"][1]
    assert run.state == "running" and content.progress and content.progress.active
    assert commands(content) == []
    (text,) = (text for _, label, text in content.progress.groups if label == "KD")
    assert text.startswith("1/2 done; running")


def test_lost_runs_are_submitted(fake, place, reports, monkeypatch):
    from experiments.cluster import queue_status
    from tests.experiments import sending

    sending.send(place)
    content = reports.of_matrix(place.matrix)
    assert content.progress and set(content.progress.counts) == {"pending"}
    assert content.progress.active and content.progress.steps == ()
    monkeypatch.setattr(queue_status, "_ask", lambda *_: queue_status.Known())
    content = reports.of_matrix(place.matrix)
    assert commands(content) == [f"submit {place.matrix}"]


def test_what_cannot_be(tmp_path, reports):
    matrix = cli.write(tmp_path, methods=["vanilla", "vitkd"])
    content = reports.of_matrix(matrix)
    rows = by_row(content)
    assert {run.state for run in rows["ViTKD"]} == {"n/a"} and rows["ViTKD"][0].reason
    assert content.progress and content.progress.counts["n/a"] == 2


# ---- one run in several cells, probes, parts -----------------------------------------------------


def test_a_student_alone_of_two_pairs_is_one_run(tmp_path, reports):
    matrix = cli.write(tmp_path, pairs=["resnet14 -> resnet8", "resnet20 -> resnet8"])
    content = reports.of_matrix(matrix)
    rows = by_row(content)
    assert [(run.pair, run.trial) for run in rows["Student alone"]] == [(PAIR, 0), (PAIR, 1)]
    assert len(rows["KD"]) == 4 and [run.pair for run in rows["Teacher"]] == [
        "resnet14",
        "resnet20",
    ]
    ids = [run.id for run in content.runs]
    assert len(ids) == len(set(ids))


def test_paired_teachers(tmp_path, reports):
    content = reports.of_matrix(cli.write(tmp_path, teacher_trials="paired"))
    assert [run.trial for run in by_row(content)["Teacher"]] == [0, 1]
    assert content.progress and content.progress.groups[0] == ("resnet14", "Teacher", "0/2 done")


def test_probes(done, reports):
    done.write(transfer={"datasets": ["fake"], "recipe": {"epochs": 1, "milestones": []}})
    content = reports.of_matrix(done.matrix, "--transfer", "fake")
    assert content.name == "matrix-fake" and dict(content.progress.counts) == {"to do": 6}
    assert list(content.methods) == list(content.board.methods) == ["Student alone", "KD", "FitNet"]
    assert content.methods["FitNet"].name == "fitnet" and content.methods["FitNet"].reads
    assert content.progress.steps[-1].command.count("--transfer fake") == 1
    assert content.board.notes[0].startswith("Linear probes of frozen students")


def test_probes_wait_for_their_students(place, reports):
    place.write(transfer={"datasets": ["fake"], "recipe": {"epochs": 1, "milestones": []}})
    content = reports.of_matrix(place.matrix, "--transfer", "fake")
    assert content.progress and content.progress.active
    assert dict(content.progress.counts) == {"blocked": 6}
    students, probes = content.progress.steps
    assert "--transfer" not in students.command and students.reason.startswith("6 probes: train")
    assert "--transfer fake" in probes.command


def test_probes_of_students_that_failed(done, reports):
    done.write(transfer={"datasets": ["fake"], "recipe": {"epochs": 1, "milestones": []}})
    first = done.specs("kd")[0]
    (first.directory(done.runs) / "result.json").unlink()
    done.fail(first)
    content = reports.of_matrix(done.matrix, "--transfer", "fake")
    assert content.progress and dict(content.progress.counts) == {"to do": 5, "blocked": 1}
    look = content.progress.steps[0]
    assert (
        look.reason.startswith("1 probe blocked, e.g. its student (") and ": failed" in look.reason
    )
    assert " status " in look.command and "--transfer" not in look.command


def test_commands_can_be_pasted(tmp_path, reports):
    folder = tmp_path / "my runs"
    folder.mkdir()
    content = reports.of_matrix(cli.write(folder), "--pairs", "resnet14 -> *")
    assert content.progress
    words = shlex.split(content.progress.steps[0].command)
    assert words[2:4] == ["run", str(folder / "matrix.yaml")] and words[-1] == "resnet14 -> *"


def test_a_part_of_a_matrix_is_trained_as_a_part(place, reports):
    content = reports.of_matrix(place.matrix, "--methods", "kd", "--trials", "0")
    assert [run.label for run in content.runs] == [
        "KD",
        "Teacher",
    ] and content.board.baseline is None
    assert content.progress.steps[0].command.endswith(" --methods kd --trials 0")
    assert list(content.methods) == ["KD"]


# ---- methods -------------------------------------------------------------------------------------


def test_facts_about_methods(tmp_path, reports):
    methods = ["vanilla", "lskd+dkd", "crd+kd", {"name": "mlkd", "label": EVIL}]
    methods.append(
        {"name": "dkd", "options": {"beta": 4.0}, "pairs": {"resnet14 -> *": {"beta": 2.0}}}
    )
    pairs = ["resnet14 -> resnet8", "resnet20 -> resnet8"]
    content = reports.of_matrix(cli.write(tmp_path, methods=methods, pairs=pairs, trials=1))
    alone, both, crd, views, dkd = (content.methods[label] for label in content.board.methods)
    assert (alone.family, alone.reads, alone.paper) == ("no teacher", (), "")
    assert both.title == "LSKD+DKD" and both.family == "logits" and both.year == "2024"
    assert "Sun et al., CVPR 2024; Zhao et al., CVPR 2022" in both.paper
    assert "Here with DKD" in both.formula and both.bibtex.count("@inproceedings") == 2
    assert crd.title == "CRD+KD" and crd.family == "relations between images"
    assert "With the term of KD" in crd.formula and "Hinton" in crd.paper
    assert views.label == EVIL and views.beyond == ("2 views of every image",)
    assert dkd.exceptions == {PAIR: "beta 2.0"}
    beta = next(option for option in dkd.options if option.name == "beta")
    assert (beta.value, beta.default) == ("4.0", "8.0") and beta.expected.startswith("number")
    rows = by_row(content)
    assert rows[EVIL][0].label == EVIL and rows["DKD"][0].spec["options"]["beta"] == 2.0


def test_a_method_of_ones_own(own_registry, tmp_path, reports):
    plugin = Path(__file__).resolve().parents[2] / "my_method.py"
    shutil.copy(plugin, tmp_path)
    content = reports.of_matrix(
        cli.write(tmp_path, methods=["my_method"], plugins=["my_method.py"])
    )
    (facts,) = content.methods.values()
    assert facts.name == "my_method" and facts.formula and facts.family == "features"


def test_the_lines_of_a_row_make_its_runs(tmp_path, reports):
    methods = ["vanilla", "crd+kd", {"name": "gk_dfd", "preset": "signed"}]
    methods.append({"name": "mlkd", "label": EVIL, "options": {"weight": 0.5}})
    methods.append(
        {"name": "dkd", "options": {"beta": 4.0}, "pairs": {"resnet14 -> *": {"beta": 2.0}}}
    )
    pairs = ["resnet14 -> resnet8", "resnet20 -> resnet8"]
    first = reports.of_matrix(cli.write(tmp_path, methods=methods, pairs=pairs, trials=1))
    rows = [yaml.safe_load(facts.lines)["methods"][0] for facts in first.methods.values()]
    assert rows[:2] == ["vanilla", "crd+kd"]
    (tmp_path / "again").mkdir()
    second = reports.of_matrix(cli.write(tmp_path / "again", methods=rows, pairs=pairs, trials=1))
    assert [run.id for run in second.runs] == [run.id for run in first.runs]
    assert list(second.methods) == list(first.methods)


def test_a_run_can_be_repeated_in_a_directory_of_its_own(done, reports):
    content = reports.of_matrix(done.matrix)
    here, again = shlex.split(content.train), shlex.split(content.again)
    assert here[2:4] == again[2:4] == ["run", str(done.matrix)]
    assert again[again.index("--runs") + 1] == "again" and "again" not in here
    assert all(Path(run.weights).is_file() for run in content.runs)


# ---- speed ---------------------------------------------------------------------------------------


def test_finished_runs_are_read_from_their_records_alone(done, reports, monkeypatch):
    """No spec.yaml, no log of starts, no history before it is asked for."""
    opened: list[str] = []
    real = Path.open

    def noted(self, *arguments, **more):
        opened.append(self.name)
        return real(self, *arguments, **more)

    monkeypatch.setattr(Path, "open", noted)
    reports.of_matrix(done.matrix)
    assert not {"spec.yaml", "starts.json", "history.csv", "error.txt"} & set(opened)
