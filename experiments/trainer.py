"""One loop for everything: a cohort of runs that share a teacher, a data set and their batches.

The teacher runs once per batch of each stream, and every learner of that stream takes its step on
it. No method, network or data set is named here: what is special about one is a hook it overrides.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import torch
import yaml

from datasets import Batch, Data, Stream
from distillers import Needs, Unsupported
from models import Outputs
from results import records

from . import claims, environment, networks
from .learner import CHECKPOINT, Learner
from .recipe import Recipe
from .spec import RunSpec
from .teachers import Teacher

DONE, FAILED, INTERRUPTED, HELD = "done", "failed", "interrupted", "held"
Report = Callable[[RunSpec, dict[str, Any]], None]


class Interrupted(Exception):  # noqa: N818  (control flow: a signal asked for a stop)
    """A stop was asked for; everything is saved."""


@dataclass
class Cohort:
    """What `train` needs: the runs, where they live, and who listens.

    stop    asked at every step boundary; True ends the cohort after a save
    report  called with every finished epoch's row, and with {"state": …} when a run ends
    """

    specs: list[RunSpec]
    runs: Path
    data: Data
    teacher: Teacher | None
    device: torch.device
    save_minutes: float = 10.0
    stop: Callable[[], bool] = lambda: False
    report: Report = lambda spec, row: None
    states: dict[str, str] = field(default_factory=dict)  # run id -> how it ended


@dataclass
class Member:
    """A learner and the claim it works under."""

    learner: Learner
    claim: claims.Claim

    def save(self) -> None:
        self.check_claim()
        self.learner.check()  # what has diverged must not replace the last good state
        self.learner.save()

    def check_claim(self) -> None:
        """Raise claims.Lost if somebody took the run over: nothing may be written any more."""
        if not self.claim.is_held():
            raise claims.Lost(f"somebody else took over {self.learner.directory}")


def train(cohort: Cohort) -> dict[str, str]:
    """Train every run of the cohort to its end; returns run id -> "done", "failed", ….

    A run that fails is recorded with its reason and leaves; the others go on. Starts at the slowest
    member: members ahead wait.
    """
    set_numerics(cohort.specs[0].recipe, cohort.device)
    members = [m for spec in cohort.specs if (m := join(cohort, spec)) is not None]
    try:
        for member in list(members):
            if member.learner.stage == "done":  # killed between its last save and its result
                _guarded(cohort, members, member, _finish)
        members = [m for m in members if m.learner.stage != "done"]
        for position in _positions(members):
            for stream in _streams(members, position):
                _epoch(cohort, members, position, stream)
    except Interrupted:
        for member in members:
            cohort.states[member.learner.spec.id] = INTERRUPTED
            member.claim.release()
    return cohort.states


def set_numerics(recipe: Recipe, device: torch.device) -> None:
    """Process-wide settings, which the members of a cohort agree on."""
    if device.type == "cpu":
        torch.set_num_threads(recipe.threads)
        environment.keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = recipe.tf32
    torch.backends.cudnn.allow_tf32 = recipe.tf32
    torch.backends.cudnn.benchmark = not recipe.deterministic
    torch.use_deterministic_algorithms(recipe.deterministic)


# ---- joining and leaving -------------------------------------------------------------------------


def join(cohort: Cohort, spec: RunSpec) -> Member | None:
    """Claim a run and bring it to where it was; None where it is done, held or cannot be."""
    directory = spec.directory(cohort.runs)
    claim = None
    try:
        directory.mkdir(parents=True, exist_ok=True)
        claim = claims.take(directory)
        record = records.read(directory)  # after the claim: somebody may just have finished
        if record is not None:
            if claim is not None:  # nobody is at it: what a kill after the result left may go
                _clean(directory)
            _leave(cohort, spec, DONE, top1=record["accuracy"]["last"]["top1"])
        elif claim is None:
            _leave(cohort, spec, HELD, error="somebody else is working on it")
        else:
            return Member(_learner(cohort, spec, directory), claim)
    except Exception as error:  # noqa: BLE001  (whatever a plugin or a disk does, the others go on)
        _fail(cohort, spec, directory, claim, error)
    return None


def _learner(cohort: Cohort, spec: RunSpec, directory: Path) -> Learner:
    if (directory / records.RESULT).exists():  # cut in half: `read` could make nothing of it
        records.set_aside(directory / records.RESULT)
    records.remove_temporaries(directory)
    (directory / "error.txt").unlink(missing_ok=True)
    records.write_atomic(directory / "spec.yaml", yaml.safe_dump(spec.dump(), sort_keys=False))
    teacher = cohort.teacher if spec.teacher else None
    learner = Learner(spec, cohort.data, teacher, cohort.device, directory)
    learner.resume()
    learner.save()  # so that this start is on record whatever happens to it
    return learner


def _clean(directory: Path) -> None:
    """After the result is there, it alone speaks for the run."""
    (directory / CHECKPOINT).unlink(missing_ok=True)
    records.remove_temporaries(directory)
    claims.remove_all(directory)


def _leave(cohort: Cohort, spec: RunSpec, state: str, **more: Any) -> None:
    """Note how a run ended, and tell."""
    cohort.states[spec.id] = state
    cohort.report(spec, {"state": state, **more})


def _fail(
    cohort: Cohort, spec: RunSpec, directory: Path, claim: claims.Claim | None, error: Exception
) -> None:
    """Record why a run ended: one line for people, the traceback below it."""
    kind = "" if isinstance(error, Unsupported) else f"{type(error).__name__}: "
    line = f"{kind}{' '.join(str(error).split())}"
    detail = "".join(traceback.format_exception(error))
    with contextlib.suppress(OSError, records.RecordError):  # a full disk: it is told all the same
        records.write_atomic(directory / "error.txt", f"{line}\n\n{detail}")
        if claim is not None:
            claim.release()
    _leave(cohort, spec, FAILED, error=line)


def _guarded(
    cohort: Cohort,
    members: list[Member],
    member: Member,
    action: Callable[[Cohort, Member], None],
) -> None:
    """Do something with one member; if that fails, it alone leaves the cohort."""
    if member not in members:  # it left earlier in this very step
        return
    for other in members:
        other.claim.beat()
    try:
        action(cohort, member)
    except claims.Lost as error:
        _leave(cohort, member.learner.spec, HELD, error=str(error))
        members.remove(member)
    except Exception as error:  # noqa: BLE001  (one run's failure must not end the others)
        if cohort.device.type == "cuda":
            torch.cuda.synchronize(cohort.device)  # a broken device is nobody's own failure
        learner = member.learner
        _fail(cohort, learner.spec, learner.directory, member.claim, error)
        members.remove(member)


def _finish(cohort: Cohort, member: Member) -> None:
    learner = member.learner
    member.check_claim()
    record = learner.finish()
    _clean(learner.directory)
    _leave(cohort, learner.spec, DONE, top1=record["accuracy"]["last"]["top1"])


# ---- the loop ------------------------------------------------------------------------------------


def _positions(members: Iterable[Member]) -> list[tuple[str, int]]:
    """All (stage, epoch) that some member still has before it, initial stages first."""
    ahead = set()
    for member in members:
        learner = member.learner
        if learner.stage != "done":
            ahead |= set(learner.coordinates[learner.coordinates.index(learner.position) :])
    return sorted(ahead, key=lambda position: (position[0] != "initial", position[1]))


def _streams(members: Iterable[Member], position: tuple[str, int]) -> list[Stream]:
    """The distinct streams of the members that stand at this epoch, in the members' order."""
    return list(dict.fromkeys(m.learner.stream for m in _at(members, position)))


def _at(members: Iterable[Member], position: tuple[str, int]) -> list[Member]:
    return [m for m in members if m.learner.position == position]


def _epoch(
    cohort: Cohort, members: list[Member], position: tuple[str, int], stream: Stream
) -> None:
    """One epoch of one stream, from the step of its slowest member to the end."""
    present = [m for m in _at(members, position) if m.learner.stream == stream]
    clock = _Clock(present, cohort.device)
    for member in present:
        _guarded(cohort, members, member, lambda _, m: m.learner.start_epoch())
    present = [m for m in present if m in members]
    if not present:
        return
    first = min(m.learner.step for m in present)
    spec = present[0].learner.spec
    saved = time.monotonic()
    for batch in cohort.data.train_stream(spec.trial, position[1], first, stream):
        present = [m for m in present if m in members]
        if not present:
            return
        step(cohort, members, present, batch)
        stopping = cohort.stop()
        if stopping or time.monotonic() - saved > 60 * cohort.save_minutes:
            clock.settle()
            _save(cohort, members, present)
            saved = time.monotonic()
        if stopping:
            raise Interrupted
    clock.settle()
    for member in present:
        _guarded(cohort, members, member, _end_epoch)
    members[:] = [m for m in members if m.learner.stage != "done"]


def step(cohort: Cohort, members: list[Member], present: list[Member], batch: Batch) -> None:
    """The teacher once, then every member whose next step this is."""
    taking = [m for m in present if m.learner.step == batch.step]
    recipe = taking[0].learner.recipe if taking else present[0].learner.recipe
    batch = networks.formatted(batch, recipe)
    outputs = teacher_outputs(cohort, taking, batch, recipe)
    for member in taking:
        start = time.perf_counter()
        _guarded(cohort, members, member, lambda _, m: m.learner.take_step(batch, outputs))
        member.learner.seconds += time.perf_counter() - start


@torch.no_grad()
def teacher_outputs(
    cohort: Cohort, taking: list[Member], batch: Batch, recipe: Recipe
) -> Outputs | None:
    """One forward pass with everything that any of these learners reads."""
    needs = [m.learner.distiller.needs for m in taking if m.learner.distiller.needs.teacher]
    if cohort.teacher is None or not needs:
        return None
    union = reduce(
        lambda a, b: Needs(preacts=a.preacts or b.preacts, blocks=a.blocks or b.blocks),
        needs,
        Needs(),
    )
    return networks.run(cohort.teacher.module, batch, union, recipe)


def _save(cohort: Cohort, members: list[Member], present: list[Member]) -> None:
    for member in list(present):
        _guarded(cohort, members, member, lambda _, m: m.save())


def _end_epoch(cohort: Cohort, member: Member) -> None:
    learner = member.learner
    start = time.perf_counter()
    row = learner.end_epoch()
    learner.seconds += time.perf_counter() - start
    member.save()
    cohort.report(learner.spec, row)
    if learner.stage == "done":
        _finish(cohort, member)


class _Clock:
    """Shares the time that no learner spent alone (batches, teacher, waiting) among all present."""

    def __init__(self, members: list[Member], device: torch.device) -> None:
        self.learners = [m.learner for m in members]
        self.device = device
        self._restart()

    def _restart(self) -> None:
        self.start = time.perf_counter()
        self.own = sum(learner.seconds for learner in self.learners)

    def settle(self) -> None:
        """Wait for the device once, then divide what is left of the wall time evenly."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        spent = sum(learner.seconds for learner in self.learners) - self.own
        shared = time.perf_counter() - self.start - spent
        for learner in self.learners:
            learner.seconds += max(shared, 0.0) / len(self.learners)
        self._restart()
