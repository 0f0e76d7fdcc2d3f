"""Playing a fault, and what came of it."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.slurm import accounts
from tests.slurm.dev_cluster import DevCluster, FaultError
from tests.slurm.faults import Fault
from tests.slurm.faults_of_disks import small_disk
from tests.slurm.matrices import Size
from tests.slurm.outcomes import References
from tests.slurm.scenario import MissedError, Scenario

ACCOUNT_SECONDS = 15.0  # until slurmdbd has heard of an end
DRAWS = 6  # of a moment, where one came too late
Numbers = Mapping[str, Any]  # run id -> what its result must be


@dataclass
class Verdict:
    """What came of one scenario.

    lost       runs without a result (or not reported as blocked, where that is right)
    twice      runs whose result changed after it had been published
    different  runs whose numbers or weights are not those of the undisturbed run
    wrong      anything else that should not be, in words
    false      lines of `status` that cannot have been true
    looks      how often `status` was asked
    shown      how the tasks that the fault hit ended, by SLURM's own accounts
    ends       how all starts of its tasks did
    manual     submits it took beyond the one that is allowed after the fault
    more       submits after the last injection, ``submits`` all of them
    seconds    from the last injection until all was done
    """

    fault: Fault
    seed: str
    runs: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)
    looks: int = 0
    shown: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    manual: int = 0
    more: int = 0
    submits: int = 0
    injections: int = 0
    seconds: float = 0.0
    moments: list[str] = field(default_factory=list)
    evidence: str = ""

    @property
    def is_good(self) -> bool:
        bad = (self.lost, self.twice, self.different, self.wrong, self.false)
        return not (any(bad) or self.manual)

    def __str__(self) -> str:
        said = [f"{self.fault.title} (seed {self.seed}): {'; '.join(self.moments)}"]
        for kind in ("lost", "twice", "different", "wrong", "false"):
            found = getattr(self, kind)
            said += [f"{kind}: {', '.join(found[:20])}"] if found else []
        said += [f"manual steps: {self.manual}"] if self.manual else []
        return "\n".join([*said, self.evidence])


def play(
    fault: Fault,
    cluster: DevCluster,
    folder: Path,
    seed: str,
    size: Size,
    references: References,
) -> Verdict:
    """One scenario from its start to its verdict; drawn again where the moment came too late."""
    rng = random.Random(f"{fault.name} {seed}")
    content = fault.content(size)
    missed: list[str] = []
    for draw in range(DRAWS):
        name = f"{fault.name.replace('_', '-')}-{rng.randrange(16**6):06x}"
        s = Scenario(folder / str(draw), name, cluster, content, rng, fault.flags, fault.first)
        disk = small_disk(s.runs) if fault.small_disk else contextlib.nullcontext()
        try:
            with disk, contextlib.closing(s):
                return _judged(fault, s, seed, references)
        except MissedError as error:
            missed.append("; ".join([*s.moments, str(error)]))
    return Verdict(fault, seed, wrong=[f"not injected in {DRAWS} draws: {' | '.join(missed)}"])


def _judged(fault: Fault, s: Scenario, seed: str, references: References) -> Verdict:
    possible = references.of(s.content)
    verdict = Verdict(fault, seed, wrong=s.wrong, moments=s.moments)
    try:
        fault.inject(s)
        wanted = references.of(s.content)  # the matrix may have been edited
        verdict.manual = s.recover(set(wanted))
    except MissedError:
        raise
    except FaultError as error:
        s.wrong.append(str(error))
        wanted = possible
    verdict.seconds = time.monotonic() - s.injected
    verdict.runs = len(wanted)
    _ask_accounts(verdict, s)
    s.looker.stop()
    verdict.false, verdict.looks = s.looker.false, s.looker.looks
    _compare(verdict, s, wanted, {**possible, **wanted})
    if fault.blocked:
        _check_blocked(verdict, s, wanted)
    verdict.submits, verdict.more, verdict.injections = s.submits, s.more, s.injections
    if not verdict.is_good:
        verdict.evidence = s.evidence()
    return verdict


def _ask_accounts(verdict: Verdict, s: Scenario) -> None:
    """A fault that SLURM sees has to be in its accounts, or it has not been one."""
    wanted = set(verdict.fault.account)
    patience = time.monotonic() + ACCOUNT_SECONDS
    while True:
        found = s.cluster.starts(s.prefix)
        verdict.ends = Counter(start.state for start in found)
        verdict.shown = accounts.shown(s.hits, found) if s.hits else _those(verdict.ends, wanted)
        is_whole = verdict.shown.total() >= (len(s.hits) or bool(wanted))
        if is_whole or time.monotonic() > patience:
            break
        time.sleep(1.0)
    if (s.hits or wanted) and not verdict.shown:
        raise MissedError("the accounts do not show it")
    s.injections -= max(0, len(s.hits) - verdict.shown.total())


def _those(ends: Counter[str], states: set[str]) -> Counter[str]:
    return Counter({state: count for state, count in ends.items() if state in states})


def _compare(verdict: Verdict, s: Scenario, wanted: Numbers, possible: Numbers) -> None:
    s.watch.look()
    results = s.results()
    verdict.lost = sorted(set(wanted) - set(results))
    verdict.different = sorted(run for run in results if results[run] != possible.get(run))
    verdict.twice = sorted(s.watch.changed)


def _check_blocked(verdict: Verdict, s: Scenario, reference: Numbers) -> None:
    """The teacher has failed, its students are blocked; submit says so and sends nothing."""
    done = s.command("submit", "--yes", "--wait", *s.flags)
    if done.code != 1 or "nothing to send" not in done.said:
        verdict.wrong.append(f"submit --wait: exit code {done.code}: {done.said}")
    states = s.states()
    verdict.runs = len(states)
    for run, (what, state) in states.items():
        expected = "done" if run in reference else "blocked" if "->" in what else "failed: Diverged"
        if not state.startswith(expected):
            verdict.lost.append(run)
            verdict.wrong.append(f"{what} is {state}, not {expected}")
