"""A worker: one process that trains the cohort of one job, on this machine or in a SLURM task."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import models
from datasets import Data, DataError
from experiments.errors import InputError
from experiments.matrix import sources
from experiments.matrix.run_spec import RunSpec, TeacherSpec, build_dataset
from experiments.memo import Memo
from experiments.rundir.outcome import Outcome
from experiments.train import ensembles, numerics, predictions, teachers, trainer
from experiments.train.cohort import Cohort, Report
from experiments.train.distributed import ProcessGroup
from experiments.train.memory import shortage
from experiments.train.waits import Interrupted, Waits
from experiments.worker import choosing, holders, plugins, rendezvous, tensorboard
from experiments.worker.blocking import REFUSALS, Blocker
from experiments.worker.job import BLOCKED, STOPPED, Job, command, describe, task_file
from experiments.worker.signals import Stop, requeue_or_wait


def work(path: Path, as_json: bool) -> int:
    """Train the job at ``path``; returns the exit code of the process.

    ``path`` is the file of a job, or the folder of a SLURM array, whose task then takes the file
    of its index. Reports go to standard output, one line per epoch: for people, or as JSON for the
    local queue.
    """
    in_array = path.is_dir()
    job = Job.read(path / task_file(_task_number(path)) if in_array else path)
    stop = Stop()
    rendezvous.exit_with_parent()
    folder = path if in_array else None
    group, device = rendezvous.meet(job.processes, job.device, command(path, as_json), folder)
    report = _report_json if as_json else _report_text
    job, events = replace(job, device=device), job.tensorboard if group.is_main else None
    states: dict[str, str] = {}
    with (
        tensorboard.observed(report if group.is_main else _silent, job.runs, events) as observer,
        contextlib.suppress(Interrupted),  # before training: there was nothing to save
    ):
        job = _settled(job, observer, group, states)
        _train_or_tell(job, stop, observer, group, states)
        if in_array and job.awaited:
            _train_what_is_held(job, stop, observer, group, states)
    group.close()
    if not group.is_main:  # srun treats any other code as a crash, and kills the main process
        return 0
    if stop.requested and any(run not in states for run in job.ids):
        if in_array:
            requeue_or_wait(stop)
        return STOPPED
    return _exit_code(set(states.values()), in_array)


def _settled(job: Job, report: Report, group: ProcessGroup, states: dict[str, str]) -> Job:
    """The job with the runs that its placeholders stand for; without a choice they are blocked."""
    if not job.choices:
        return job
    plugins.load(job.plugins)  # a run's id is made of its method's defaults
    found = choosing.settled(job, group.on_main(lambda: choosing.chosen(job)))
    block = Blocker(job, _noting(job, report, states), writes=group.is_main)
    for spec, reason in found.refused:
        block(spec, reason)
    return found.job


def _noting(job: Job, report: Report, states: dict[str, str]) -> Report:
    """A report that puts run id -> how it ended into ``states``."""

    def report_and_note(spec: RunSpec, row: dict[str, Any]) -> None:
        if "state" in row:
            states[job.id_of(spec)] = row["state"]
        report(spec, row)

    return report_and_note


def _exit_code(states: set[str], in_array: bool) -> int:
    """Of a process whose runs have ended like this; a blocked run is an error everywhere."""
    if states & {Outcome.FAILED, Outcome.INTERRUPTED}:
        return 1
    if Outcome.BLOCKED in states:
        return BLOCKED if in_array else 1
    return 0


def _train_what_is_held(
    job: Job, stop: Stop, report: Report, group: ProcessGroup, states: dict[str, str]
) -> None:
    """Wait for the results of runs that other processes train; take over those that are given up.

    At a stop request they have no state, so that the job is handed back and waits on later.
    """
    say = _say if group.is_main else _say_nothing
    while held := [s for s in job.specs if states.get(job.id_of(s)) == Outcome.HELD]:
        waiting = job.only(held)
        goes_on = holders.wait(waiting, stop, group, say)
        for run in waiting.ids:
            del states[run]
        if not goes_on:
            return
        _train_or_tell(waiting, stop, report, group, states)


def _say(line: str) -> None:
    print(line, flush=True)


def _say_nothing(line: str) -> None:
    """The words of processes other than the main one."""


def _task_number(folder: Path) -> int:
    """The index of this process's task in its SLURM array."""
    given = os.environ.get("SLURM_ARRAY_TASK_ID", "")
    if not re.fullmatch("[0-9]{1,9}", given):
        expected = "expected a job's file, or an array's folder in a task of it"
        raise InputError(f"work {folder}: SLURM_ARRAY_TASK_ID is {given!r}: {expected}")
    return int(given)


def _silent(spec: RunSpec, row: dict[str, Any]) -> None:
    """The report of processes other than the main one."""


def _train_or_tell(
    job: Job, stop: Stop, report: Report, group: ProcessGroup, states: dict[str, str]
) -> None:
    """`_train`; ``states`` gets run id -> how it ended.

    Runs that a shared GPU has no memory to begin are reported as interrupted, and those whose data
    cannot be read, also to test their teacher, as blocked. Raises Interrupted at a stop request
    before training.
    """
    report = _noting(job, report, states)
    block = Blocker(job, report, writes=group.is_main)
    try:
        _train(job, stop, report, group, block)
    except DataError as error:
        if group.size > 1:  # the others wait for this process
            raise
        for spec in _without_end(job, states):
            block(spec, str(error))
    except REFUSALS as error:
        block.store_refusal(_without_end(job, states), error)
        raise
    except RuntimeError as error:  # while the data or the teacher were loaded
        reason = shortage(error)
        if reason is None:
            raise
        for spec in _without_end(job, states):
            report(spec, {"state": Outcome.INTERRUPTED, "error": reason})


def _without_end(job: Job, states: Mapping[str, str]) -> list[RunSpec]:
    """The runs that have not ended yet."""
    return [spec for spec in job.specs if job.id_of(spec) not in states]


def _train(job: Job, stop: Stop, report: Report, group: ProcessGroup, block: Blocker) -> None:
    """Train all runs of a job that can be trained."""
    specs = block.with_planned_ids(plugins.without_broken(job, block))
    if not specs:
        return
    first, shard, device = specs[0], (group.rank, group.size), torch.device(job.device)
    numerics.check(first.recipe, job.device)
    numerics.set_numerics(first.recipe, device)
    options = {**job.data_options, **first.dataset.options}  # a run's own part of the data
    data = build_dataset(first.dataset, first.recipe, job.data_root, options, job.device, shard)
    data.while_waiting = Waits(stop, group)
    specs = [spec for spec in specs if _is_as_planned(spec, data, block)]
    specs = [spec for spec in specs if _has_source(spec, job, block)]
    specs, teacher = _load_teacher(job, specs, data, device, block, group)
    if specs:
        cohort = Cohort(
            specs=specs,
            runs=job.runs,
            data=data,
            teacher=teacher,
            device=device,
            save_minutes=job.save_minutes,
            stop=stop,
            report=report,
            code=job.code,
            group=group,
            predictions=job.predictions,
            sources=job.sources,
        )
        trainer.train(cohort)


def _is_as_planned(spec: RunSpec, data: Data, block: Blocker) -> bool:
    """Whether plugins and a user's own data are still those that the run's id was made from."""
    same_data = spec.dataset.content in (None, data.fingerprint)
    if set(spec.plugins) <= sources.code_hashes(spec) and same_data:
        return True
    what = "data" if not same_data else "plugin"
    block(spec, f"its {what} changed since it was planned")
    return False


def _has_source(spec: RunSpec, job: Job, block: Blocker) -> bool:
    """Whether the student that a probe reads exists, with the weights that its result names."""
    if spec.source is None:
        return True
    trained = TeacherSpec(name=spec.student, run=spec.source.run)
    try:
        teachers.checked_hash(trained, job.sources[spec.source.run], "student")
    except teachers.Blocked as error:
        block(spec, str(error))
        return False
    return True


def _load_teacher(
    job: Job,
    specs: list[RunSpec],
    data: Data,
    device: torch.device,
    block: Blocker,
    group: ProcessGroup,
) -> tuple[list[RunSpec], teachers.Teacher | None]:
    """The runs that can be trained, and their teacher. Without it, its runs are blocked."""
    first, files = next((spec for spec in specs if spec.teacher), None), job.teacher_weights
    if first is None or first.teacher is None or not files:
        return specs, None
    try:
        memo, recipe, stated = Memo(job.data_root), first.recipe, job.stated_teachers
        teacher = ensembles.load(first.teacher, files, data, recipe, device, group, memo, stated)
    except (teachers.Blocked, models.ModelError) as error:
        for spec in specs:
            if spec.teacher:
                block(spec, str(error))
        return [spec for spec in specs if not spec.teacher], None
    made = predictions.of_teacher(
        teacher, first.teacher, job.runs, data, recipe, job.predictions, first.dataset.name, group
    )
    return specs, replace(teacher, predictions=made)


def _report_json(spec: RunSpec, row: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the queue is gone: `Stop` notices
        if "run" not in row:  # a blocked run's is the one that it was planned with
            row = {"run": spec.id, **row}
        print("\n" + json.dumps(row), flush=True)


def _report_text(spec: RunSpec, row: dict[str, Any]) -> None:
    print(describe(spec, row), flush=True)
