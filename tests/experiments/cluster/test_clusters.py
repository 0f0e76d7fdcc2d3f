"""Jobs on other clusters of the same accounts: sent there, asked there, cancelled there."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from experiments import slurm
from experiments.cluster import addresses, dropping, queue_status, recovery, submission, submitted
from experiments.cluster.answer import UnclearError
from experiments.matrix.slurm_options import SlurmOptions
from experiments.rundir.status import State
from experiments.slurm import SlurmError
from tests.experiments import sending
from tests.experiments.sending import FIRST, SECOND, TEACHER_TASK, settings


@pytest.fixture
def there(fake):
    """A fake SLURM with a second cluster."""
    fake.set(clusters=["there"])
    return fake


def to(names: str) -> sending.Settings:
    return settings(options=SlurmOptions(sbatch={"clusters": names}))


def states(place) -> list[str]:
    return sorted({str(s.state) for s in queue_status.survey(place.plan())[0].values()})


# ---- which cluster -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", addresses.VARIABLES)
def test_a_variable_names_the_cluster_where_no_option_does(fake, monkeypatch, name):
    monkeypatch.setenv(name, "there")
    assert addresses.clusters(addresses.resolved(SlurmOptions())) == ("there",)
    given = SlurmOptions(sbatch={"clusters": "mine"})
    assert addresses.clusters(addresses.resolved(given)) == ("mine",)


@pytest.mark.parametrize("key", ["M", "-M", "clusters", "--clusters", "cluster"])
def test_the_option_has_several_names(key):
    options = addresses.resolved(SlurmOptions(sbatch={key: "a, b", "nice": 1}))
    assert addresses.clusters(options) == ("a", "b")
    assert options.sbatch.keys() == {"clusters", "nice"}


@pytest.mark.parametrize(
    ("asked", "teacher", "sent"),
    [
        ("", None, ""),
        ("", (None, "7_0"), ""),
        ("", ("fake", "7_0"), ""),
        ("", ("there", "7_0"), None),
        ("there", ("there", "7_0"), "there"),
        ("there", ("fake", "7_0"), None),
        ("fake,there", ("there", "7_0"), "there"),
        ("all", ("there", "7_0"), "there"),
    ],
)
def test_students_go_where_their_teacher_is(fake, asked, teacher, sent):
    options = SlurmOptions(sbatch={"clusters": asked} if asked else {})
    found = addresses.beside(options, [teacher] if teacher else [])
    assert (None if found is None else ",".join(addresses.clusters(found))) == sent


@pytest.mark.parametrize(
    ("asked", "awaited", "sent"),
    [
        ("", ["fake", None], ""),
        ("", ["fake", "there"], None),
        ("there", ["there", "there"], "there"),
        ("fake,there", ["there", "fake"], None),
        ("fake,there", ["fake", "fake"], "fake"),
    ],
)
def test_who_waits_for_several_jobs_waits_beside_all_of_them(fake, asked, awaited, sent):
    options = SlurmOptions(sbatch={"clusters": asked} if asked else {})
    found = addresses.beside(options, [(where, f"{n}_0") for n, where in enumerate(awaited)])
    assert (None if found is None else ",".join(addresses.clusters(found))) == sent


@pytest.mark.parametrize(
    ("after", "after_end", "line"),
    [
        (["t", "u"], [], "wait for their teachers, jobs 7_0, 8_1 on cluster there: "),
        ([], ["t", "u", "v"], "wait for jobs 7, 8 on cluster there: "),
        (["t"], ["w"], "wait for job 7_0 on cluster there and job 9 on cluster fake: "),
    ],
)
def test_what_cannot_be_waited_for_is_named(fake, after, after_end, line):
    known = {
        "t": ("there", "7_0"),
        "u": ("there", "8_1"),
        "v": ("there", "8_2"),
        "w": ("fake", "9_0"),
    }
    awaited = addresses.Awaited.of(after, after_end, known)
    (said,) = submission._apart({awaited: ["one", "two"]})
    assert said.startswith(f"2 runs {line}SLURM's dependencies end at a cluster's edge; ")
    assert said.endswith("--sbatch clusters=there" if "fake" not in line else "they are done")


# ---- each job once -------------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["there", "there,fake"])
def test_what_is_sent_to_another_cluster_is_asked_there(there, place, names):
    first, second = sending.send(place, to(names))
    assert [(a.job, a.cluster) for a in place.sent] == [(FIRST, "there"), (SECOND, "there")]
    assert there.jobs[1]["options"]["clusters"] == "there"  # with its teacher
    assert sending.send(place, to(names)) == sending.send(place) == []
    assert dropping.dropped([first, second]) == []
    assert states(place) == ["pending"]
    there.move(TEACHER_TASK, "RUNNING", "m1", cluster="there")
    assert states(place) == ["pending", "running"]


def test_two_clusters_may_give_out_one_number(there, place):
    """The same number here is another's job."""
    sending.send(place, to("there"))
    about = {"options": SlurmOptions(), "minutes": 5, "code": place.folder}
    (place.folder / "a").mkdir()
    submission.sbatch.send(place.folder / "a", name="another", tasks=3, **about)
    there.move(FIRST, "RUNNING", "n1")
    assert states(place) == ["pending"]
    place.call("cancel", "--yes")
    assert there.queue == {f"{FIRST}_{i}": "RUNNING" for i in range(3)}


def test_a_job_that_ended_there_is_lost_by_its_own_accounts(there, place):
    sending.send(place, to("there"))
    there.move(f"{FIRST}_1", "TIMEOUT", cluster="there")
    lost = [s for s in queue_status.survey(place.plan())[0].values() if s.state == State.LOST]
    assert lost
    assert "TIMEOUT" in lost[0].detail


def test_a_cluster_that_does_not_answer_is_an_error_and_nothing_is_sent(there, place):
    sending.send(place, to("there"))
    there.set(silent=["there"])
    with pytest.raises(SlurmError, match="Unable to contact"):
        sending.send(place)
    assert len(there.jobs) == 2


def test_students_of_a_teacher_on_another_cluster_wait_with_a_sentence(there, place, monkeypatch):
    sending.send(place, to("there"))
    there.move(SECOND, "CANCELLED", cluster="there")
    notes: list[str] = []
    complete = submission.send
    monkeypatch.setattr(submission, "send", lambda *given: complete(*given[:-1], notes.append))
    assert sending.send(place) == []
    (note,) = notes
    assert note.startswith(f"4 runs wait for their teacher, job {TEACHER_TASK} on cluster there: ")
    assert note.endswith("or with --sbatch clusters=there")
    assert [a.cluster for a in sending.send(place, to("there"))] == ["there"]


def test_of_several_clusters_the_answer_says_which(there, place):
    """An answer that does not is unclear; the next submit finds the job where it is."""
    there.set(answer="{job}\n")
    with pytest.raises(UnclearError, match="one of there,fake"):
        sending.send(place, to("there,fake"))
    (token,) = place.sent
    assert (token.job, token.cluster) == (None, "there,fake")
    assert recovery.recover(place.runs) == [f"{token.name}: adopted as job {FIRST}"]
    assert [(a.job, a.cluster) for a in place.sent] == [(FIRST, "there")]


def test_arrays_of_a_cluster_that_cannot_be_asked_are_left_out(there, place):
    sending.send(place)
    entry = place.sent[0]
    replace(entry, cluster="elsewhere").write()
    assert [a.cluster for a in submitted.load_here(place.runs)] == ["fake"]
    there.set(accounting=False)
    slurm.others.cache_clear()
    assert len(submitted.load_here(place.runs)) == 1


def test_accounts_that_cannot_be_read_prove_nothing(there, place):
    """A job that is not in the queue may be over, or not: the accounts would know."""
    sending.send(place)
    there.purge(FIRST)
    there.refuse("sacct", "sacct: error: Problem talking to the database: Connection refused")
    with pytest.raises(SlurmError, match=r"^sacct: Problem talking to the database"):
        queue_status.survey(place.plan())


def test_an_earlier_record_names_no_cluster(fake, place):
    sending.send(place)
    for entry in place.sent:
        path = entry.folder / "array.json"
        content = json.loads(path.read_text())
        del content["cluster"]
        path.write_text(json.dumps(content))
    assert sending.send(place) == []
    assert states(place) == ["pending"]
