"""`submit --keep-going`: which lost runs are sent again, and which nodes they stay away from."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from experiments.cluster.submitted import SubmittedArray
from experiments.matrix.slurm_options import SlurmOptions
from experiments.rundir.status import NOT_STARTED, State, Status
from experiments.slurm import Ended
from experiments.wording import form, plural

MOST_SENT = 4  # times that a run is sent: once, and three times more when it was lost
QUICK = 60.0  # seconds within which no job gets to train
QUICK_ENDS = 3  # on one node, after which jobs avoid it
MOST_EXCLUDED = 3  # nodes; when more of them end jobs at once, it is not the nodes
_NODES_FAULT = ("FAILED", "NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY", "LAUNCH_FAILED")
_TIMES = "%Y-%m-%dT%H:%M:%S"


@dataclass
class Tally:
    """How often each run was sent, at which epoch, and which tasks each node has ended at once.

    ``spared``: how often, of these, before the last bad node was found. It may have ended them all,
    several within one look, so they do not count against the runs.
    """

    sent: Counter[str] = field(default_factory=Counter)
    spared: Counter[str] = field(default_factory=Counter)
    epochs: dict[str, int] = field(default_factory=dict)
    quick: dict[str, set[str]] = field(default_factory=dict)

    def count(self, arrays: Iterable[SubmittedArray], statuses: Mapping[str, Status]) -> None:
        """Note what was sent."""
        runs = [run for array in arrays for task in array.tasks for run in task]
        self.sent.update(runs)
        self.epochs |= {run: statuses[run].epoch for run in runs if run in statuses}

    def wanted(self, statuses: Mapping[str, Status]) -> set[str]:
        """The runs that are to be sent: not done, not failed, and not sent too often."""
        left = (run for run, s in statuses.items() if s.state in NOT_STARTED)
        return {run for run in left if not self._is_spent(run)}

    def given_up(self, statuses: Mapping[str, Status]) -> list[str]:
        """The runs that were lost as often as they may be."""
        left = (run for run, s in statuses.items() if s.state == State.LOST)
        return [run for run in left if self._is_spent(run)]

    def _is_spent(self, run: str) -> bool:
        return self.sent[run] - self.spared[run] >= MOST_SENT

    def without(self, statuses: Mapping[str, Status]) -> dict[str, Status]:
        """The statuses as `plan_submission` is to see them: what was given up has failed."""
        spent = set(self.given_up(statuses))
        reason = f"lost {MOST_SENT} times"
        return {
            run: replace(s, state=State.FAILED, detail=reason) if run in spent else s
            for run, s in statuses.items()
        }

    def blame(self, ends: Mapping[str, Ended], runs: Mapping[str, Status]) -> Iterator[str]:
        """Note tasks that a node ended at once; a line for each node that is now avoided.

        ends  how tasks ended, by task ("123_4")
        runs  the status of a run of each task, as it is now
        """
        for task, end in ends.items():
            if task in runs and self._is_nodes_fault(end, runs[task]):
                before = self.bad_nodes()
                self.quick.setdefault(end.node, set()).add(task)
                if end.node in set(self.bad_nodes()) - set(before):
                    self.spared = Counter(self.sent)
                    count = plural(len(self.quick[end.node]), "job")
                    yield (
                        f"{end.node} ended {count} within {QUICK:g} s, none of which trained: "
                        f"jobs that are sent from now on avoid it (--exclude={end.node})"
                    )

    def _is_nodes_fault(self, end: Ended, status: Status) -> bool:
        seconds = _seconds(end)
        at_once = seconds is not None and seconds <= QUICK
        of_a_node = re.fullmatch(r"[\w.-]+", end.node) and end.state.split(" ")[0] in _NODES_FAULT
        return bool(of_a_node) and at_once and status.epoch <= self.epochs.get(status.spec.id, 0)

    def bad_nodes(self) -> list[str]:
        """The nodes that ended too many jobs at once."""
        return sorted(node for node, tasks in self.quick.items() if len(tasks) >= QUICK_ENDS)

    @property
    def is_everywhere(self) -> bool:
        """Whether so many nodes end jobs at once that they are not to blame."""
        return len(self.bad_nodes()) > MOST_EXCLUDED

    def excluding(self, options: SlurmOptions) -> SlurmOptions:
        """The options with the bad nodes added to what a person excludes."""
        if not self.bad_nodes():
            return options
        own = str(options.sbatch.get("exclude", ""))
        nodes = ",".join(filter(None, (own, *self.bad_nodes())))
        return options.model_copy(update={"sbatch": {**options.sbatch, "exclude": nodes}})

    def summary(self, statuses: Mapping[str, Status]) -> str:
        """What was given up, in a line; empty if nothing was."""
        lost = self.given_up(statuses)
        if not lost:
            return ""
        was, which = form(len(lost), "was", "were"), lost[0]
        return (
            f"{plural(len(lost), 'run')} {was} sent {self._times(lost)} and lost each time, "
            f"e.g. {which}: see `logs {which}`; `submit` sends them again"
        )

    def _times(self, runs: Iterable[str]) -> str:
        """ "4 times", of runs that were sent more or less often "4 to 8 times"."""
        counts = sorted({self.sent[run] for run in runs})
        return f"{counts[0]}{f' to {counts[-1]}' * (len(counts) > 1)} times"


def _seconds(end: Ended) -> float | None:
    """How long a task ran; None if accounts do not say."""
    try:
        start, stop = (time.mktime(time.strptime(t, _TIMES)) for t in (end.start, end.end))
    except ValueError:
        return None
    return stop - start
