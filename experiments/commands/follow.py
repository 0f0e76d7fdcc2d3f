"""Watching the jobs of a matrix: `submit --wait`, and how `submit` ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.cluster.addresses import Address
    from experiments.plan.plan import Plan
    from experiments.rundir.status import Status

FIRST = 10.0  # seconds between two looks that see something change


def follow(plan: Plan, level: int = 0) -> int:
    """Watch until no run is in the queue or running; 1 if something is not done then.

    Tasks that SLURM holds because a node could not start them are released, as by `submit`.
    """
    from experiments.cluster import submission
    from experiments.cluster.looks import Looks
    from experiments.local.progress import Progress
    from experiments.plan.summary import labels, pairs
    from experiments.rundir.status import ACTIVE

    looks = Looks(plan, FIRST)
    statuses = looks().statuses
    active = [s for s in statuses.values() if s.state in ACTIVE]
    progress = Progress(active, len(active), labels(plan), None, level, pairs(plan))
    silent: tuple[str, ...] = ()
    released: Counter[Address] = Counter()
    try:
        while any(s.state in ACTIVE for s in statuses.values()):
            time.sleep(looks.pause)
            before, view = statuses, looks()
            statuses = view.statuses
            progress.labels |= labels(plan)  # some options may have been chosen
            progress.pairs |= pairs(plan)
            progress.moved(before, statuses)
            if view.silent and not silent:
                progress.note(f"SLURM does not answer, watching on: {'; '.join(view.silent)}")
            silent = view.silent
            submission.release(view.queue, progress.note, released)
    except KeyboardInterrupt:
        progress.note("no longer watching; the jobs continue")
    progress.close()
    return outcome(plan, statuses)


def outcome(plan: Plan, statuses: Mapping[str, Status]) -> int:
    """Print how many runs are in which state; 1 if any is not done."""
    from experiments.plan import choosing
    from experiments.plan.summary import format_counts
    from experiments.rundir.status import State

    print(format_counts(plan, statuses))
    good = (State.DONE, State.UNSUPPORTED)
    lost = choosing.lost_runs(plan.expansion, statuses)
    return 0 if all(s.state in good or run in lost for run, s in statuses.items()) else 1
