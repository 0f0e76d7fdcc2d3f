"""Made-up runs are taken for what they are made to be; the report is that of its numbers."""

from __future__ import annotations

import shutil
from collections import Counter

import pytest

from experiments.errors import InputError
from experiments.matrix import schema
from experiments.matrix.expand import expand
from experiments.matrix.expansion import Facts
from experiments.rundir.status import State, read_statuses
from results import board_file, gathering
from results.records import RecordError
from tools.reports import scale, synthetic_board, synthetic_runs
from tools.reports.scale import Command, Taken

# What the harness calls the kinds of `synthetic_runs.SHARES`.
STATES = {"running": State.RUNNING, "stopped": State.TODO, "untouched": State.TODO}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return synthetic_runs.make(tmp_path_factory.mktemp("scale"), 300)


@pytest.mark.parametrize("runs", [1, 2_000, 20_000, 100_000])
def test_a_matrix_has_about_the_runs_it_should(runs):
    content = synthetic_runs.matrix(runs)
    assert content["trials"] == len(content["pairs"]) == len(set(content["pairs"]))
    labels = [m if isinstance(m, str) else m["label"] for m in content["methods"]]
    assert len(labels) == len(set(labels))
    entries = content["trials"] * len(content["pairs"]) * len(labels)
    assert runs <= entries <= 1.2 * runs + 1


def test_more_pairs_than_there_are_is_an_error():
    with pytest.raises(InputError, match="fewer runs"):
        synthetic_runs.matrix(10**7)


def test_the_harness_takes_them_for_what_they_are(made):
    found = expand(schema.load(made.matrix), Facts())
    statuses = read_statuses(found.runs, made.runs)
    states = Counter(status.state for status in statuses.values())
    expected: Counter[str] = Counter()
    for kind, count in made.kinds.items():
        expected[STATES.get(kind, kind)] += count
    assert states == expected
    assert sum(made.kinds.values()) == made.count == len(statuses)
    assert set(made.kinds) == set(synthetic_runs.SHARES)
    begun = [s.epoch for s in statuses.values() if s.state != State.DONE and s.epoch]
    assert len(begun) == made.kinds["failed"] + made.kinds["running"] + made.kinds["stopped"]
    assert not any(status.crashes for status in statuses.values())


def test_without_a_record_to_start_from_it_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic_runs, "CHECKOUT", tmp_path)
    with pytest.raises(RecordError, match=r"cifar100-all-cpu\.jsonl: cannot be read"):
        synthetic_runs.make(tmp_path, 10)


def test_report(made):
    plan, status = Command("plan", ("--no-timing",), fresh=True), Command("status")
    small = {plan: Taken(2.0, 1.9, 700_000_000), status: Taken(3.0, 2.9, 800_000_000)}
    large = {plan: Taken(5.0, 4.9, 750_000_000)}
    text = scale.report([made, made], [small, large], Taken(1.5, 1.4, 600_000_000), ["and so on"])
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith(("| plan", "| status"))
    ]
    fresh, runs = "plan --no-timing, nothing run yet", str(made.count)
    assert rows == [
        [fresh, runs, "2.0", "1.9", "700", "", "–", "–"],
        [fresh, runs, "5.0", "4.9", "750", "2.6×", "–", "–"],
        ["status", runs, "3.0", "2.9", "800", "", "–", "–"],
    ]
    assert f"the {made.count} runs: {made.kinds['done']} done" in text
    assert "- 1.5 s (1.4 of CPU) and 600 MB of each are the start alone" in text
    assert "- and so on" in text


def test_report_of_two_checkouts(made):
    status, plan = Command("status"), Command("plan")
    now = {status: Taken(1.0, 0.9, 10**8, 3_000, 5_000), plan: Taken(1.0, 0.5, 10**8)}
    then = {status: Taken(4.0, 3.9, 7 * 10**8, 47_000, 90_000)}
    text = scale.report([made], [now], now[status], [], [then])
    (row,) = (line for line in text.splitlines() if line.startswith("| status"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[6:] == ["3,000", "5,000", "3.9", "700", "47,000", "90,000"]
    assert text.count("–") == 6  # plan: not counted, and not there before


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Another benchmark.py in place of the real one, which takes seconds to start."""
    monkeypatch.setattr(scale, "CHECKOUT", tmp_path)
    return tmp_path / "benchmark.py"


def test_the_memory_is_the_commands_own(stand_in):
    """This process has hundreds of megabytes more."""
    stand_in.write_text("")
    assert scale.measure(["status"]).peak_bytes < 50_000_000


def test_what_a_process_takes_is_measured(stand_in):
    stand_in.write_text("x = bytearray(200_000_000)\nfor i in range(2_000_000): pass\n")
    taken = scale.measure(["status"])
    assert taken.peak_bytes > 200_000_000
    assert taken.cpu > 0
    assert 0 < taken.seconds < 60


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_system_calls_are_counted(stand_in, tmp_path):
    stand_in.write_text("import os\nfor i in range(700): os.path.exists('/none')\n")
    taken = scale.counted(Taken(1.0, 1.0, 1), [], None, tmp_path)
    assert 700 < taken.looks < 1500 and taken.looks < taken.calls < 5000


def test_a_command_that_fails_is_skipped_with_its_reason(stand_in, made, capsys):
    stand_in.write_text(
        "import sys\n"
        "if sys.argv[1] == 'submit': sys.exit('error: no cluster here')\n"
        "if '--dry-run' in sys.argv: sys.exit(3)\n"
    )
    commands = [Command("submit"), Command("status"), Command("plan", ("--dry-run",))]
    taken, skipped = scale.measure_all(made, commands, "cpu")
    assert list(taken) == [Command("status")]
    assert skipped == [
        "submit: exit code 1: error: no cluster here",
        "plan --dry-run: exit code 3: no message",
    ]
    assert "skipped: submit: exit code 1" in capsys.readouterr().err


def test_the_whole_tool(stand_in, tmp_path, capsys):
    stand_in.write_text("")
    page = tmp_path / "pages" / "scale.md"
    assert scale.main(["--runs", "30", "10", "--output", str(page)]) == 0
    text = page.read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert text.count("| status ") == 2
    assert "command: tools/reports/scale.py --runs 30 10 --output" in text


def test_bad_input_is_one_line(stand_in, capsys):
    stand_in.write_text("import sys\nsys.exit('error: broken')")
    assert scale.main(["--runs", "10"]) == 2
    assert capsys.readouterr().err.splitlines() == ["error: exit code 1: error: broken"]


# ---- boards --------------------------------------------------------------------------------------


def test_a_made_up_board_is_a_board_of_its_matrix(tmp_path):
    made = synthetic_board.make(tmp_path, 30)
    found = expand(schema.load(made.matrix), Facts())
    assert len(found.runs) == made.count
    states = {status.state for status in read_statuses(found.runs, made.board).values()}
    assert states == {State.DONE}
    measures = next(iter(board_file.read(made.board, measures=True).values())).model_dump()[
        "measures"
    ]
    assert len(measures["per_class"]) == 100 and len(measures["correct"]) == 1668
    gathered = gathering.gather([made.board])
    lines = list(gathering.lines(gathered.runs.values()))
    assert sorted(made.board.read_bytes().splitlines(keepends=True)) == sorted(lines)


def test_commands_on_a_board(stand_in, capsys):
    stand_in.write_text("")
    assert scale.main(["--runs", "10", "--board-runs", "20"]) == 0
    out = capsys.readouterr().out
    assert [line.split("|")[1].strip() for line in out.splitlines() if "BOARD" in line] == [
        "collect BOARD", "table --runs BOARD", "table --reference BOARD",
    ]  # fmt: skip
