"""Chains of teachers, and runs that wait for the end of others, on SLURM."""

from __future__ import annotations

import pytest

from experiments.cluster import arrays, dropping, preview, queue_status
from experiments.matrix.slurm_options import SlurmOptions
from experiments.plan.retry import redo_teachers
from experiments.rundir.layout import weights_of
from experiments.rundir.status import State
from tests.experiments import sending
from tests.experiments.sending import Place, settings, titles, with_chain, with_choice

CHAIN = ["0-0", "0-0 after 100_0", "0-0 after 102_0"]


def states(plan) -> list[str]:
    """The states of the plan's runs, from disk and queue."""
    return [status.state for status in queue_status.survey(plan)[0].values()]


def test_each_link_of_a_chain_waits_for_the_one_before(fake, place):
    plan = with_chain(place.plan())
    sent = sending.send(place, plan=plan)
    assert titles(fake) == CHAIN
    assert [entry.after for entry in sent] == [(), ("100_0",), ("102_0",)]
    assert sending.send(place, plan=plan) == []
    fake.move("104", "CANCELLED")
    sending.send(place, plan=plan)  # the last link alone
    assert titles(fake)[3:] == ["0-0 after 102_0"]


def test_a_chain_that_breaks_is_dropped_and_sent_again_whole(fake, place):
    plan = with_chain(place.plan())
    sent = sending.send(place, plan=plan)
    fake.move("100_0", "FAILED")
    fake.move("102_0", "CANCELLED")  # SLURM does so with one link after the other
    assert dropping.dropped(sent) == sent[1:]
    assert states(plan) == [State.LOST] * 3
    assert len(sending.send(place, plan=plan)) == 3


def test_links_that_slurm_has_not_dropped_yet_are_withdrawn(fake, place):
    """It does so at its next look at the queue; until then they seem to be on their way."""
    plan = with_chain(place.plan())
    sent = sending.send(place, plan=plan)
    with fake.state() as state:
        for number, end in enumerate(["FAILED", "CANCELLED"]):
            state["jobs"][number]["tasks"][0]["state"] = end
    assert [*fake.queue] == ["104_0"]
    assert dropping.dropped(sent) == sent[1:]
    dropping.withdraw(sent[1:])
    assert fake.queue == {}
    assert dropping.dropped(sent[:1]) == []


def test_a_link_that_is_done_already_was_not_dropped(fake, place):
    plan = with_chain(place.plan())
    sent = sending.send(place, plan=plan)
    for task in ("100_0", "102_0"):
        fake.move(task, "COMPLETED")
    assert dropping.dropped(sent) == []


@pytest.mark.parametrize("room", [1, 2])
def test_no_link_is_sent_without_the_one_before(fake, place, room):
    plan = with_chain(place.plan())
    few = settings(options=SlurmOptions(max_jobs=room))
    assert len(sending.send(place, few, plan)) == room
    assert titles(fake) == CHAIN[:room]
    assert len(sending.send(place, plan=plan)) == 3 - room
    assert titles(fake) == CHAIN


def test_a_failed_first_link_blocks_the_others_and_its_retry_frees_them(fake, place):
    plan = with_chain(place.plan())
    place.fail(place.teacher)
    statuses = plan.statuses()
    assert [s.state for s in statuses.values()] == [State.FAILED, State.BLOCKED, State.BLOCKED]
    assert sending.send(place, plan=plan) == []
    reset = preview.as_reset(statuses, {State.FAILED})
    assert {s.state for s in reset.values()} == {State.TODO}
    limits = arrays.Limits(1001, None, None)
    view = arrays.plan_submission(plan, reset, {}, settings(), limits)
    assert [len(array.jobs) for array in view.arrays] == [1, 1, 1]


def test_a_choice_waits_for_the_end_of_whole_arrays(fake, place, capsys):
    plan = with_choice(place.plan())
    limits = arrays.Limits(1001, None, None)
    view = arrays.plan_submission(plan, plan.statuses(), {}, settings(), limits)
    preview.show_scripts(plan, view, SlurmOptions())
    assert "--dependency=afterany:SEARCH,afterok:TEACHER\n" in capsys.readouterr().out
    sent = sending.send(place, plan=plan)
    assert titles(fake) == ["0-0", "0-1 after 100_0", "0-0 after 100_0 after the end of 102"]
    assert [(entry.after, entry.after_end) for entry in sent[1:]] == [
        (("100_0",), ()),
        (("100_0",), ("102",)),
    ]
    assert place.sent == sent
    fake.move("100_0", "COMPLETED")
    fake.move("102_0", "COMPLETED")
    (waiting,) = fake.jobs[2]["tasks"]
    assert waiting["reason"] == "Dependency"
    fake.move("102_1", "FAILED")  # that, too, is an end
    (waiting,) = fake.jobs[2]["tasks"]
    assert (waiting["state"], waiting["reason"]) == ("PENDING", "Priority")


def test_a_choice_that_is_sent_later_waits_for_what_is_in_the_queue(fake, place):
    plan = with_choice(place.plan())
    sending.send(place, plan=plan)
    fake.move("105", "CANCELLED")
    fake.move("102_0", "RUNNING", "n1")
    sending.send(place, plan=plan)
    assert titles(fake)[3:] == ["0-0 after 100_0 after the end of 102"]


def test_damaged_links_are_trained_again_with_what_they_learn_from(fake, done: Place):
    """One command is enough, and what had learned from them and comes out the same stays."""
    plan = with_chain(done.plan())
    first, middle, _ = plan.expansion.runs
    before = weights_of(middle.directory(done.runs)).read_bytes()
    for spec in (first, middle):
        weights_of(spec.directory(done.runs)).unlink()
    statuses = plan.statuses()
    assert [s.state for s in statuses.values()] == [State.STALE, State.STALE, State.BLOCKED]
    assert statuses[first.id].damage and statuses[middle.id].damage
    assert [redone.status.spec.id for redone in redo_teachers(plan)] == [first.id, middle.id]
    sending.send(done, plan=plan)
    assert titles(fake) == CHAIN
    for task in ("100_0", "102_0", "104_0"):
        assert fake.run(task).code == 0
    assert states(plan) == [State.DONE] * 3
    assert weights_of(middle.directory(done.runs)).read_bytes() == before
