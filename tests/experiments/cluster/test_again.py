"""`submit --keep-going` and `--after`."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace as Array

import pytest

from experiments.cluster.again import MOST_SENT, Tally
from experiments.commands import keep_going
from experiments.matrix.slurm_options import SlurmOptions
from experiments.rundir.status import State
from experiments.slurm import Ended
from tests.experiments.sending import FIRST, titles


@dataclass(frozen=True)
class Run:
    """As much of a status as is needed."""

    id: str
    state: str = State.LOST
    epoch: int = 0
    detail: str = ""

    @property
    def spec(self) -> Run:
        return self


def end(node: str, state: str = "FAILED", seconds: int = 3) -> Ended:
    return Ended("kd", state, 1, 0, node, "2026-01-01T00:00:00", f"2026-01-01T00:00:{seconds:02d}")


# ---- pure ----------------------------------------------------------------------------------------


def test_a_run_is_sent_four_times_at_most():
    tally, lost = Tally(), {"a": Run("a"), "b": Run("b", State.FAILED), "c": Run("c", State.TODO)}
    for _ in range(MOST_SENT):
        assert tally.wanted(lost) == {"a", "c"}
        tally.count([Array(tasks=(("a",),))], lost)
    assert tally.wanted(lost) == {"c"}
    assert tally.given_up(lost) == ["a"]
    assert [s.state for s in tally.without(lost).values()] == ["failed", "failed", "to do"]
    assert tally.summary(lost).startswith("1 run was sent 4 times and lost each time, e.g. a: see")
    assert Tally().summary(lost) == ""


def test_what_a_bad_node_ended_does_not_count_against_the_runs():
    """Students that SLURM drops at once are sent several times between two looks."""
    tally, lost = Tally(), {"a": Run("a"), "b": Run("b")}
    for _ in range(MOST_SENT):
        tally.count([Array(tasks=(("a",),))], lost)
    assert tally.wanted(lost) == {"b"}
    list(
        tally.blame({f"7_{i}": end("n1") for i in range(3)}, {f"7_{i}": Run("a") for i in range(3)})
    )
    assert tally.wanted(lost) == {"a", "b"} and tally.given_up(lost) == []
    for _ in range(MOST_SENT):
        tally.count([Array(tasks=(("a",), ("b",)))], lost)
    assert tally.given_up(lost) == ["a", "b"]
    assert tally.summary(lost).startswith("2 runs were sent 4 to 8 times and lost each time, e.g.")


@pytest.mark.parametrize(
    ("found", "is_blamed"),
    [
        (end("n1"), True),
        (end("n1", "NODE_FAIL"), True),
        (end("n1", seconds=0), True),
        (end("n1", "CANCELLED by 0"), False),
        (end("n1", "PREEMPTED"), False),
        (end("n1", "TIMEOUT"), False),
        (end("n[1-2]"), False),
        (end("None assigned"), False),
        (Ended("kd", "FAILED", 1, 0, "n1", "Unknown", "Unknown"), False),
        (Ended("kd", "FAILED", 1, 0, "n1", "2026-01-01T00:00:00", "2026-01-01T00:02:00"), False),
    ],
    ids=range(10),
)
def test_a_node_that_ends_three_jobs_at_once_is_avoided(found, is_blamed):
    tally, runs = Tally(), {f"7_{i}": Run(f"r{i}") for i in range(3)}
    assert list(tally.blame({"7_0": found, "7_1": found}, runs)) == []
    assert list(tally.blame({"7_0": found, "7_1": found}, runs)) == []  # the same ones again
    lines = list(tally.blame({"7_2": found}, runs))
    assert tally.bad_nodes() == (["n1"] if is_blamed else [])
    assert [line[:20] for line in lines] == (["n1 ended 3 jobs with"] if is_blamed else [])


def test_a_job_that_trained_is_no_ones_fault():
    tally = Tally()
    tally.count([Array(tasks=(("r",),))], {"r": Run("r", epoch=4)})
    runs = {f"7_{i}": Run("r", epoch=5) for i in range(3)}
    list(tally.blame(dict.fromkeys(runs, end("n1")), runs))
    assert tally.bad_nodes() == []
    runs = {f"8_{i}": Run("r", epoch=4) for i in range(3)}
    list(tally.blame(dict.fromkeys(runs, end("n1")), runs))
    assert tally.bad_nodes() == ["n1"]


def test_bad_nodes_join_those_that_a_person_excludes_and_many_are_no_nodes_fault():
    tally = Tally()
    assert tally.excluding(SlurmOptions()).sbatch == {}
    for number, node in enumerate(("n3", "n1", "n2", "n4")):
        assert not tally.is_everywhere
        runs = {f"{number}_{i}": Run("r") for i in range(3)}
        list(tally.blame(dict.fromkeys(runs, end(node)), runs))
    assert tally.is_everywhere
    options = tally.excluding(SlurmOptions(sbatch={"exclude": "n9", "nice": 5}))
    assert options.sbatch == {"exclude": "n9,n1,n2,n3,n4", "nice": 5}


# ---- on a cluster --------------------------------------------------------------------------------


class Days:
    """What happens on the cluster while `submit` sleeps: one step a night."""

    def __init__(self, *steps) -> None:
        self.steps, self.slept = list(steps), []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        assert self.steps, "it goes on for ever"
        self.steps.pop(0)()


def submit(place, monkeypatch, *steps):
    days = Days(*steps)
    monkeypatch.setattr(keep_going, "wait", days.sleep)
    return place.call(
        "submit", "--yes", "--no-timing", "--methods", "vanilla", "--keep-going"
    ), days


def test_lost_runs_are_sent_again_and_no_more_than_three_times(fake, place, monkeypatch):
    def lose():
        fake.move(fake.jobs[-1]["id"], "NODE_FAIL")

    called, _ = submit(place, monkeypatch, *[lose] * 4)
    assert called.code == 1
    assert titles(fake) == ["0-1"] * 4
    assert "2 runs were sent 4 times and lost each time" in called.out
    assert called.out.rstrip().endswith("2 runs: 2 lost")


def test_it_ends_well_when_all_is_done(fake, place, finished, monkeypatch):
    def lose_one_and_finish_the_others():
        fake.move(FIRST, "COMPLETED")
        for spec in place.specs("vanilla"):
            place.finish(spec, finished)
        spec = place.specs("vanilla")[1]
        (spec.directory(place.runs) / "result.json").rename(place.folder / "kept")

    def finish():
        fake.move(fake.jobs[-1]["id"], "COMPLETED")
        (place.folder / "kept").rename(
            place.specs("vanilla")[1].directory(place.runs) / "result.json"
        )

    called, _ = submit(place, monkeypatch, lose_one_and_finish_the_others, finish)
    assert called.code == 0, called.out + called.err
    assert titles(fake) == ["0-1", "0-0"]
    assert called.out.rstrip().endswith("2 runs: 2 done")


def test_a_run_that_failed_by_itself_is_not_sent_again(fake, place, monkeypatch):
    def fail():
        for spec in place.specs("vanilla"):
            place.fail(spec)
        fake.move(FIRST, "COMPLETED")

    called, _ = submit(place, monkeypatch, fail)
    assert (called.code, titles(fake)) == (1, ["0-1"])


def test_what_did_not_fit_is_sent_when_there_is_room_and_slurm_may_be_away(
    fake, place, monkeypatch
):
    fake.set(limit=1)

    def away():
        fake.set(
            refuse={"squeue": [0, "slurm_load_jobs error: Unable to contact slurm controller"]}
        )

    def back():
        fake.set(refuse={"squeue": [10**6, ""]}, limit=None)

    def end():
        for job in fake.jobs:
            fake.move(job["id"], "CANCELLED")

    called, days = submit(place, monkeypatch, away, back, *[end] * 5)
    assert "Unable to contact slurm controller; looking again" in called.out
    assert titles(fake)[:2] == ["0-0", "0-0"]
    assert days.slept[0] == keep_going.FIRST


def test_what_slurm_holds_because_a_node_could_not_start_it_is_released(fake, place, monkeypatch):
    def refuse():
        fake.move(f"{FIRST}_0", "PENDING", "launch failed requeued held")

    def fail():
        assert ["scontrol", "release", f"{FIRST}_0"] in fake.calls("scontrol")
        for spec in place.specs("vanilla"):
            place.fail(spec)
        fake.move(FIRST, "COMPLETED")

    called, _ = submit(place, monkeypatch, refuse, fail)
    assert f"released {FIRST}_0: SLURM held it because a node could not start it" in called.out
    assert titles(fake) == ["0-1"]


def test_nothing_changes_and_looks_become_rare(fake, place, monkeypatch):
    nothing = [str] * 8

    def finish():
        for spec in place.specs("vanilla"):
            place.fail(spec)
        fake.move(FIRST, "COMPLETED")

    _, days = submit(place, monkeypatch, *nothing, finish)
    assert keep_going.FIRST <= days.slept[0] < keep_going.LONGEST
    assert max(days.slept) == keep_going.LONGEST
    assert days.slept == sorted(days.slept)


# ---- --after -------------------------------------------------------------------------------------


def test_everything_waits_for_other_jobs(fake, place):
    place.call("submit", "--yes", "--no-timing", "--methods", "vanilla")
    called = place.call("submit", "--yes", "--no-timing", "--after", FIRST)
    assert (called.code, called.err) == (0, "")
    assert fake.jobs[-1]["options"]["dependency"] == f"afterany:{FIRST},afterok:103_0"


def test_a_job_that_has_ended_or_that_nobody_knows(fake, place):
    place.call("submit", "--yes", "--no-timing", "--methods", "vanilla")
    called = place.call("submit", "--yes", "--no-timing", "--after", f"{FIRST},9999")
    assert called.code == 2
    assert called.err.startswith("error: --after 9999: SLURM knows no such job")
    fake.move(FIRST, "CANCELLED")
    called = place.call("submit", "--yes", "--no-timing", "--after", FIRST)
    assert f"job {FIRST} has ended already: nothing waits for it" in called.err
    assert "dependency" not in fake.jobs[1]["options"]
    fake.purge(FIRST)
    assert place.call("submit", "--dry-run", "--no-timing", "--after", FIRST).code == 0
