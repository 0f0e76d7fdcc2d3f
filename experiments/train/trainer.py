"""The training loop of a cohort: runs that share a teacher, a data set and their batches.

The teacher runs once per batch of each stream, and every learner of that stream takes its step on
it. No method, network or data set is named here: what is special about one is a hook it overrides.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator

import torch

from datasets import Batch, DataError, Stream
from distillers import Needs
from experiments.matrix.recipe import Recipe
from experiments.train import networks
from experiments.train.cohort import Cohort, Member
from experiments.train.learner import Learner
from experiments.train.memory import shortage
from experiments.train.mixup import mixed
from experiments.train.numerics import set_numerics
from experiments.train.shared import Watch, of_batch
from experiments.train.waits import Interrupted, Waits
from models import Outputs


def train(cohort: Cohort) -> dict[str, str]:
    """Train every run of the cohort to its end; returns run id -> "done", "failed", ….

    A run that fails is recorded with its reason and leaves; the others continue. Training starts
    at the slowest member: members ahead wait.
    """
    set_numerics(cohort.specs[0].recipe, cohort.device)
    with networks.preserved_generators():  # every hook of a run finds them seeded for it
        return _train(cohort)


def _train(cohort: Cohort) -> dict[str, str]:
    cohort.data.while_waiting = Waits(cohort.stop, cohort.group, cohort.beat)
    for spec in cohort.specs:
        cohort.join(spec)
    try:
        for member in [m for m in cohort.members if m.learner.stage == "done"]:
            cohort.beat()
            with cohort.isolate_failure(member):  # killed between its last save and its result
                cohort.finish(member)
        cohort.remove_finished()
        for position in _positions(cohort.members):
            for stream in _streams(cohort.members, position):
                _epoch(cohort, position, stream)
    except Interrupted:
        cohort.interrupt()
    except RuntimeError as error:  # outside of any one run: in the teacher's pass, or the data
        reason = shortage(error)
        if reason is None:
            raise
        cohort.interrupt(reason)
    return cohort.states


def _positions(members: Iterable[Member]) -> list[tuple[str, int]]:
    """All (stage, epoch) that are still ahead of some member, initial stages first."""
    ahead: set[tuple[str, int]] = set()
    for member in members:
        learner = member.learner
        ahead.update(learner.coordinates[learner.coordinates.index(learner.position) :])
    return sorted(ahead, key=lambda position: (position[0] != "initial", position[1]))


def _streams(members: Iterable[Member], position: tuple[str, int]) -> list[Stream]:
    """The distinct streams of the members at this (stage, epoch), in the members' order."""
    streams = (m.learner.stream for m in members if m.learner.position == position)
    return list(dict.fromkeys(streams))


def _epoch(cohort: Cohort, position: tuple[str, int], stream: Stream) -> None:
    """One epoch of one stream, from the step of its slowest member to the end."""
    members = cohort.at(position, stream)
    clock = Clock([m.learner for m in members], cohort.device)
    for member in members:
        with cohort.isolate_failure(member):
            member.learner.start_epoch()
    members = cohort.at(position, stream)  # again, here and below: those that fail leave
    if not members:
        return
    try:
        _steps(cohort, position, stream, clock)
        clock.settle()
        members = cohort.at(position, stream)
        for member in members:
            cohort.beat()  # an evaluation may take minutes
            with cohort.isolate_failure(member):
                _end_epoch(cohort, member)
    except Interrupted:  # also while a batch was awaited, of training or of a test
        clock.settle()
        _save_all(cohort, position, stream)
        raise
    except DataError as error:  # a file of the stream; once it is mended they go on from here
        clock.settle()
        _save_all(cohort, position, stream)
        cohort.fail(cohort.at(position, stream), error)
        return
    _note_progress(cohort, members)
    cohort.remove_finished()


def _steps(cohort: Cohort, position: tuple[str, int], stream: Stream, clock: Clock) -> None:
    """The steps of an epoch. Raises Interrupted at a stop request, before it is saved."""
    members = cohort.at(position, stream)
    first_step = min(m.learner.step for m in members)
    trial = members[0].learner.spec.trial
    saved_at = time.monotonic()
    for batch in cohort.data.train_stream(trial, position[1], first_step, stream):
        members = cohort.at(position, stream)
        if not members:
            return
        cohort.beat()
        took_step = step(cohort, members, batch)
        waited = time.monotonic() - saved_at > 60 * cohort.save_minutes
        stop, due = cohort.group.any(cohort.stop(), waited)
        if stop:
            raise Interrupted
        # A start saves its first step at once: a start that saves nothing counts as a crash.
        if due or any(not m.has_progress for m in cohort.members):
            clock.settle()
            _save(cohort, members if due else took_step)
            _note_progress(cohort, took_step)
            saved_at = time.monotonic()


def step(cohort: Cohort, members: list[Member], batch: Batch) -> list[Member]:
    """Run the teacher once, then let every member take the step if it is its next one.

    Returns the members that took it; members ahead wait.
    """
    taking = [m for m in members if m.learner.step == batch.step]
    if not taking:  # the slowest member has failed, and the others are not there yet
        return []
    batch, outputs = _shared(cohort, taking, batch)
    watch = Watch(of_batch(batch, outputs))
    for member in taking:
        with cohort.isolate_failure(member), _timed(member.learner), cohort.blamed(member, watch):
            member.learner.take_step(batch, outputs)
        cohort.beat()  # a first step may compile
        changed = cohort.changed(watch)
        if changed:  # the others get what they would have got without this member
            cohort.expel(member, changed)
            batch, outputs = _shared(cohort, taking, _drawn_again(cohort, member.learner, batch))
            watch = Watch(of_batch(batch, outputs))
    return taking


def _shared(cohort: Cohort, members: list[Member], batch: Batch) -> tuple[Batch, Outputs | None]:
    """The batch as these members train on it, and the teacher's outputs."""
    learner = members[0].learner  # members agree on what is read of its recipe here
    batch = networks.formatted(batch, learner.recipe)
    # Each process mixes its own part of the batch. Rank 0 draws what a single process draws.
    rank = (cohort.group.rank,) if cohort.group.rank else ()
    coordinates = (learner.spec.trial, learner.stage, *rank)
    batch = mixed(batch, cohort.data.info, learner.recipe, *coordinates)
    return batch, teacher_outputs(cohort, members, batch, learner.recipe)


def _drawn_again(cohort: Cohort, learner: Learner, batch: Batch) -> Batch:
    """The batch of this step from the data, after a member wrote into the one at hand."""
    trial = learner.spec.trial
    return next(iter(cohort.data.train_stream(trial, batch.epoch, batch.step, learner.stream)))


@torch.no_grad()
def teacher_outputs(
    cohort: Cohort, members: Iterable[Member], batch: Batch, recipe: Recipe
) -> Outputs | None:
    """One forward pass with everything that any of these members reads; None if none reads it."""
    needs = [m.learner.distiller.needs for m in members if m.learner.distiller.needs.teacher]
    if cohort.teacher is None or not needs:
        return None
    union = Needs(preacts=any(n.preacts for n in needs), blocks=any(n.blocks for n in needs))
    return networks.run(cohort.teacher.module, batch, union, recipe)


def _save(cohort: Cohort, members: Iterable[Member]) -> None:
    for member in members:
        if member not in cohort.members:  # it failed in this step
            continue
        cohort.beat()  # a slow disk may take minutes
        with cohort.isolate_failure(member):
            member.save()


def _save_all(cohort: Cohort, position: tuple[str, int], stream: Stream) -> None:
    """Save those that are still in this epoch, if they took a step since this start."""
    members = cohort.at(position, stream)
    moved = [m for m in members if m.learner.steps_taken > m.learner.starts[-1]["steps"]]
    _save(cohort, moved)
    _note_progress(cohort, moved)


def _note_progress(cohort: Cohort, saved: Iterable[Member]) -> None:
    """Once one member's step is saved, no member's start counts as a crash.

    That includes members that wait for it and have taken no step of their own.
    """
    if not any(m in cohort.members for m in saved):
        return
    for member in [m for m in cohort.members if not m.has_progress]:
        with cohort.isolate_failure(member):
            member.note_progress()


def _end_epoch(cohort: Cohort, member: Member) -> None:
    learner = member.learner
    with _timed(learner):
        row = learner.end_epoch()
    member.save()
    cohort.report(learner.spec, {**row, "seconds": learner.seconds})
    if learner.stage == "done":
        cohort.finish(member)


# ---- time ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _timed(learner: Learner) -> Iterator[None]:
    """Attribute the wall time of the body to one run."""
    start = time.perf_counter()
    try:
        yield
    finally:
        learner.seconds += time.perf_counter() - start


class Clock:
    """Attributes the wall time that no run spent alone to all of them in equal parts.

    That is the time for batches and the teacher, and for waiting for the device.
    """

    def __init__(self, learners: Iterable[Learner], device: torch.device) -> None:
        self.learners = list(learners)
        self.device = device
        self._restart()

    def _restart(self) -> None:
        self.start = time.perf_counter()
        self.own = sum(learner.seconds for learner in self.learners)

    def settle(self) -> None:
        """Wait for the device once, then divide what is left of the wall time."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        spent = sum(learner.seconds for learner in self.learners) - self.own
        shared = time.perf_counter() - self.start - spent
        for learner in self.learners:
            learner.seconds += max(shared, 0.0) / len(self.learners)
        self._restart()
