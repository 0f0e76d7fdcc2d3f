"""Train a matrix undisturbed, or interrupted in the middle of each of its stages.

For `tools/reports/tuning_check.py`. A *stage* is what a later one waits for: the teachers and the
runs of a search, teachers, assistants, and the rows of the table.
"""

from __future__ import annotations

import functools
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.matrix import schema
from experiments.matrix.expand import expand
from experiments.matrix.expansion import Expansion, Facts
from experiments.matrix.run_spec import RunSpec
from tests.slurm import dev_cluster
from tools.reports import shared

PROGRAM = (sys.executable, str(CHECKOUT / "benchmark.py"))
MARK = "KD_TUNING_CHECK"  # in the environment of every process of a play
MOMENTS = (0.1, 0.5)  # of a stage's epochs; later ones may never come, see `Play.draw`
PATIENCE = 7200.0  # seconds for a stage
POLL = 0.2  # seconds
LATER = 0.5  # seconds, at most, after an epoch's end


@dataclass(frozen=True)
class Stage:
    """Runs that later ones wait for. ``epochs``: of all of them together."""

    name: str
    runs: frozenset[str]
    epochs: int


def stages(expansion: Expansion) -> list[Stage]:
    """The stages of a matrix, in the order in which they end; the rows of its table come last.

    Runs that belong to no other stage are of the last one: a choice that is not made yet has no id.
    """
    tried = {candidate.spec.id: candidate.spec for candidate in expansion.candidates}
    rows = {entry.spec.id: entry.spec for entry in expansion.entries}
    trained = {spec.id: spec for spec in expansion.teachers}
    behind = _needed(tried, trained)
    rest = {run: spec for run, spec in trained.items() if run not in behind}
    parts = {
        "teachers of the search": behind,
        "search": tried,
        "teachers": {run: spec for run, spec in rest.items() if not spec.teacher},
        "assistants": {run: spec for run, spec in rest.items() if spec.teacher},
        "final" if tried else "students": {r: s for r, s in rows.items() if r not in rest},
    }
    return [_stage(name, specs) for name, specs in parts.items() if specs]


def _needed(runs: Mapping[str, RunSpec], teachers: Mapping[str, RunSpec]) -> dict[str, RunSpec]:
    """The teachers of these runs, and theirs."""
    found = {run: teachers[run] for spec in runs.values() for run in spec.needs}
    return {**_needed(found, teachers), **found} if found else {}


def _stage(name: str, specs: Mapping[str, RunSpec]) -> Stage:
    return Stage(name, frozenset(specs), sum(spec.recipe.epochs for spec in specs.values()))


# ---- one way of training a matrix ----------------------------------------------------------------


@dataclass
class Play:
    """A matrix in a runs directory of its own, and what was done to it.

    plugin   a file for all commands
    moments  when it was interrupted, in words; ``missed``: stages that ended before their moment
    """

    source: Path
    runs: Path
    data: Path
    rng: random.Random
    plugin: Path | None = None
    moments: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    env: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self.begun = time.monotonic()

    @functools.cached_property
    def stages(self) -> list[Stage]:
        """Of a matrix without given teachers and own data, whose ids depend on the disk."""
        return stages(expand(schema.load(self.source), Facts()))

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    def command(self, verb: str, *more: str) -> list[str]:
        places = ["--runs", str(self.runs), "--data", str(self.data)]
        plugin = ["--plugin", str(self.plugin)] if self.plugin else []
        return [*PROGRAM, verb, str(self.source), *places, *plugin, *more]

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "OMP_NUM_THREADS": "1", MARK: self.mark, **self.env}

    def start(self, verb: str, *more: str) -> subprocess.Popen[bytes]:
        """A command of benchmark.py, whose messages go to a file beside the runs."""
        self.runs.mkdir(parents=True, exist_ok=True)
        with open(self.runs.parent / "said.txt", "ab") as said:
            command = self.command(verb, *more)
            return subprocess.Popen(command, env=self.environ, stdout=said, stderr=said)

    def call(self, verb: str, *more: str) -> str:
        """What a command about this matrix prints, see `ask`."""
        return self.ask(self.command(verb, *more))

    def ask(self, command: Sequence[str]) -> str:
        """What a command prints. Raises InputError with its last line where it fails."""
        done = subprocess.run(
            command, env=self.environ, capture_output=True, text=True, encoding="utf-8"
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            said = f"exit code {done.returncode}: {lines[-1]}"
            raise InputError(f"{self.source.name}: {' '.join(command[1:4])}: {said}")
        return done.stdout

    def finish(self) -> None:
        """Train whatever is left. Raises InputError where runs fail."""
        code = self.start("run", "--device", "cpu").wait()
        if code:
            said = (
                (self.runs.parent / "said.txt")
                .read_text(encoding="utf-8", errors="replace")
                .splitlines()
            )
            raise InputError(f"run {self.source.name}: exit code {code}: {said[-1]}")

    # ---- moments -------------------------------------------------------------------------------

    def stage_of(self, run: str) -> str:
        """The name of a run's stage."""
        named = (stage.name for stage in self.stages if run in stage.runs)
        return next(named, self.stages[-1].name)

    def progress(self, stage: Stage) -> float:
        """The part of a stage's epochs that is trained."""
        return self._epochs(stage) / stage.epochs

    def _epochs(self, stage: Stage) -> int:
        histories = [
            path
            for path in self.runs.glob("*/*/*/*/history.csv")
            if self.stage_of(path.parent.name.rpartition("-")[2]) == stage.name
        ]
        return sum(path.read_text(encoding="utf-8").count("\nmain,") for path in histories)

    def draw(self) -> dict[str, float]:
        """Stage -> the part of its epochs after which it is to be interrupted.

        The last stage may have fewer runs than it is thought to: a configuration that is chosen
        may be one that is trained anyway.
        """
        return {stage.name: self.rng.uniform(*MOMENTS) for stage in self.stages}

    def next(self, moments: dict[str, float], is_alive: Callable[[], bool]) -> Stage | None:
        """Wait for the next of these moments, and take it out; None where everything has ended.

        Stages are trained side by side where nothing has to wait.
        """
        patience = time.monotonic() + PATIENCE
        while moments and is_alive() and time.monotonic() < patience:
            for stage in (stage for stage in self.stages if stage.name in moments):
                progress = self.progress(stage)
                if progress >= moments[stage.name]:
                    del moments[stage.name]
                    if progress < 1:
                        time.sleep(self.rng.uniform(0, LATER))
                        return stage
                    self.missed.append(stage.name)
            time.sleep(POLL)
        self.missed += moments
        moments.clear()
        return None

    def note(self, stage: Stage, what: str) -> None:
        """Say that a stage is interrupted now."""
        line = f"{stage.name}: {what} at {100 * self.progress(stage):.0f} %"
        self.moments.append(line)
        shared.progress(f"{self.source.stem}: {self.seconds:.0f} s: {line}")


def undisturbed(play: Play) -> None:
    """From the start to the end, on this machine."""
    play.finish()


def killed(play: Play) -> None:
    """On this machine, with SIGKILL to every process in the middle of each stage."""
    moments = play.draw()
    while moments:
        process = play.start("run", "--device", "cpu")
        stage = play.next(moments, lambda process=process: process.poll() is None)  # type: ignore[misc]
        if stage:
            play.note(stage, "SIGKILL to every process")
            kill_all(play.mark)
        process.wait()
    play.finish()


def kill_all(mark: str) -> int:
    """SIGKILL to every process of a play, also to those that are being started; their number."""
    killed: set[int] = set()
    while alive := {p.pid for p in dev_cluster.processes({f"{MARK}={mark}"}) if not p.is_stopped}:
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # it has just ended
                continue
        killed |= alive
        time.sleep(0.05)
    return len(killed)
