"""One loop for everything: a cohort of runs that share a teacher, a data set and their batches.

The teacher runs once per batch of each stream, and every learner of that stream takes its step on
it. No method, network or data set is named here: what is special about one is a hook it overrides.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import reduce

import torch

from datasets import Batch, Stream
from distillers import Needs
from experiments.matrix.recipe import Recipe
from experiments.train import networks
from experiments.train.cohort import Cohort, Member, finish, guarded, interrupt, join
from experiments.train.learner import Learner
from experiments.train.mixup import mixed
from experiments.train.numerics import set_numerics
from models import Outputs


class Interrupted(Exception):  # noqa: N818  (control flow: a signal asked for a stop)
    """A stop was asked for; everything is saved."""


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
                guarded(cohort, members, member, finish)
        members = [m for m in members if m.learner.stage != "done"]
        for position in _positions(members):
            for stream in _streams(members, position):
                _epoch(cohort, members, position, stream)
    except Interrupted:
        for member in members:
            interrupt(cohort, member)
    return cohort.states


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
    clock = Clock([m.learner for m in present], cohort.device)
    for member in present:
        guarded(cohort, members, member, lambda _, m: m.learner.start_epoch())
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
        taken = step(cohort, members, present, batch)
        waited = time.monotonic() - saved > 60 * cohort.save_minutes
        stopping, due = cohort.group.any(cohort.stop(), waited)
        due = due or stopping
        if due or any(not m.has_progress for m in members):  # the first step of a start, at once
            clock.settle()
            _save(cohort, members, present if due else taken)
            _note_progress(cohort, members, taken)
            saved = time.monotonic()
        if stopping:
            raise Interrupted
    clock.settle()
    for member in present:
        guarded(cohort, members, member, _end_epoch)
    _note_progress(cohort, members, present)
    members[:] = [m for m in members if m.learner.stage != "done"]


def step(
    cohort: Cohort, members: list[Member], present: list[Member], batch: Batch
) -> list[Member]:
    """The teacher once, then every member whose next step this is; returns these."""
    taking = [m for m in present if m.learner.step == batch.step]
    recipe = taking[0].learner.recipe if taking else present[0].learner.recipe
    batch = _regularised(cohort, present[0].learner, networks.formatted(batch, recipe))
    outputs = teacher_outputs(cohort, taking, batch, recipe)
    for member in taking:
        start = time.perf_counter()
        guarded(cohort, members, member, lambda _, m: m.learner.take_step(batch, outputs))
        member.learner.seconds += time.perf_counter() - start
    return taking


def _regularised(cohort: Cohort, learner: Learner, batch: Batch) -> Batch:
    """The batch as all these learners train on it; other processes mix their parts themselves."""
    own = (cohort.group.rank,) if cohort.group.rank else ()
    where = (learner.spec.trial, learner.stage, *own)
    return mixed(batch, cohort.data.info, learner.recipe, *where)


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
        guarded(cohort, members, member, lambda _, m: m.save())


def _note_progress(cohort: Cohort, members: list[Member], saved: list[Member]) -> None:
    """Once somebody's step is saved, this start was no crash: not of those either who wait."""
    if not any(m in members for m in saved):
        return
    for member in list(members):
        if not member.has_progress:
            guarded(cohort, members, member, lambda _, m: m.note_progress())


def _end_epoch(cohort: Cohort, member: Member) -> None:
    learner = member.learner
    start = time.perf_counter()
    row = learner.end_epoch()
    learner.seconds += time.perf_counter() - start
    member.save()
    cohort.report(learner.spec, row)
    if learner.stage == "done":
        finish(cohort, member)


class Clock:
    """Shares the time that no learner spent alone (batches, teacher, waiting) among all present."""

    def __init__(self, learners: Iterable[Learner], device: torch.device) -> None:
        self.learners = list(learners)
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
