"""`submit --keep-going`: follow the jobs, and send what was lost again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from experiments import slurm
from experiments.slurm_command import NoAnswerError

if TYPE_CHECKING:
    from experiments.cluster.addresses import Address
    from experiments.cluster.again import Tally
    from experiments.cluster.queue_status import QueueState
    from experiments.cluster.submitted import SubmittedArray
    from experiments.plan.plan import Plan
    from experiments.rundir.status import Status

FIRST, LONGEST = 10.0, 60.0  # seconds between two looks: more and more, while nothing changes
Send = Callable[["Tally"], "list[SubmittedArray]"]
Statuses: TypeAlias = "Mapping[str, Status]"


def wait(seconds: float) -> None:
    """Until the next look; tests put something else in its place."""
    time.sleep(seconds)


def keep_going(
    plan: Plan,
    tally: Tally,
    send: Send,
    note: Callable[[str], None],
    moved: Callable[[Statuses, Statuses], None],
) -> Statuses:
    """Look at all runs until none is in the queue, running or to be sent; returns their statuses.

    send   sends what ``tally`` admits, and says which arrays these were
    moved  is told the statuses of the last look and of this one
    """
    from experiments.cluster import submission
    from experiments.cluster.looks import Looks
    from experiments.cluster.queue_status import require_answer
    from experiments.rundir.status import ACTIVE

    looks, before = Looks(plan, FIRST, LONGEST), None
    released: Counter[Address] = Counter()
    while True:
        view = looks()
        statuses = view.statuses
        try:
            require_answer(view.silent)
            for line in tally.blame(*_ends(statuses, view.queue)):
                note(line)
        except slurm.SlurmError as error:  # a controller restarts: the jobs go on
            note(f"{error}; looking again")
            wait(LONGEST)
            continue
        moved(before or statuses, statuses)
        submission.release(view.queue, note, released)
        is_sent = _again(tally, statuses, send, note)
        if not is_sent and not any(s.state in ACTIVE for s in statuses.values()):
            return statuses
        before = statuses
        wait(FIRST if is_sent else looks.pause)


def _again(tally: Tally, statuses: Statuses, send: Send, note: Callable[[str], None]) -> bool:
    """Send what was lost; whether anything was sent, or may be later."""
    from experiments.cluster.answer import UnclearError
    from experiments.cluster.refusals import LimitReached

    if not tally.wanted(statuses):
        return False
    if tally.is_everywhere:
        note(
            "many nodes end jobs at once, so it is not the nodes: nothing is sent again; see `logs`"
        )
        return False
    try:
        sent = send(tally)
    except (LimitReached, UnclearError, NoAnswerError) as error:
        note(f"{error}; trying again later")
        return True
    tally.count(sent, statuses)
    return bool(sent)


def _ends(
    statuses: Statuses, known: Mapping[str, QueueState]
) -> tuple[dict[str, slurm.Ended], dict[str, Status]]:
    """How the tasks of lost runs ended, and a run of each."""
    from experiments.rundir.status import State

    lost = {run for run, s in statuses.items() if s.state == State.LOST and run in known}
    runs = {known[run].task: statuses[run] for run in lost}
    ends: dict[str, slurm.Ended] = {}
    for cluster in {known[run].cluster for run in lost}:
        tasks = [known[run].task for run in lost if known[run].cluster == cluster]
        ends |= slurm.accounted({task.partition("_")[0] for task in tasks}, cluster)
    return ends, runs
