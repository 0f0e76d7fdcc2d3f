"""Runs on their way into a cohort and out of it: claimed, brought to where they were, let go."""

from __future__ import annotations

import contextlib
import errno
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from datasets import Data
from distillers import Unsupported
from experiments import environment
from experiments.matrix.run_spec import RunSpec
from experiments.rundir import claims, start_log
from experiments.rundir.layout import CHECKPOINT, ERROR
from experiments.rundir.outcome import Outcome
from experiments.train import checkpoint, result
from experiments.train.distributed import SINGLE, Broken, ProcessGroup, is_everywhere
from experiments.train.learner import Learner
from experiments.train.meter import Diverged
from experiments.train.teachers import Teacher
from results import records

Report = Callable[[RunSpec, dict[str, Any]], None]


@dataclass
class Cohort:
    """What `trainer.train` needs: the runs, where they live, and who listens.

    stop    asked at every step boundary; True ends the cohort after a save
    report  called with every finished epoch's row, and with {"state": …} when a run ends
    code    `environment.code` at submission, where that was another process's
    group   the processes that train it together
    sources weights of the students that probes are about, by their runs' ids
    """

    specs: list[RunSpec]
    runs: Path
    data: Data
    teacher: Teacher | None
    device: torch.device
    save_minutes: float = 10.0
    stop: Callable[[], bool] = lambda: False
    report: Report = lambda spec, row: None
    code: dict[str, Any] | None = None
    group: ProcessGroup = SINGLE
    sources: Mapping[str, Path] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)  # run id -> how it ended


@dataclass
class Member:
    """A learner and the claim it works under, which the group's lead holds."""

    learner: Learner
    claim: claims.Claim | None

    def save(self) -> None:
        self.check_claim()
        self.learner.check()  # what has diverged must not replace the last good state
        checkpoint.save(self.learner)

    def check_claim(self) -> None:
        """Raise claims.Lost if somebody took the run over: nothing may be written any more."""
        self.learner.group.on_main(self._check_claim)

    def _check_claim(self) -> None:
        if self.claim is not None and not self.claim.is_held():
            raise claims.Lost(f"somebody else took over {self.learner.directory}")

    @property
    def has_progress(self) -> bool:
        """Whether this start is known to have been good for something."""
        return bool(self.learner.starts[-1]["progress"])

    def note_progress(self) -> None:
        """Put on record that this start was."""
        self.check_claim()
        self.learner.starts[-1]["progress"] = True
        self.learner.group.on_main(
            lambda: start_log.write(self.learner.directory, self.learner.starts)
        )


def join(cohort: Cohort, spec: RunSpec) -> Member | None:
    """Claim a run and bring it to where it was; None where it is done, held or cannot be."""
    directory = spec.directory(cohort.runs)
    claim = None

    def take() -> dict[str, Any]:
        nonlocal claim
        directory.mkdir(parents=True, exist_ok=True)
        claim = claims.take(directory)
        return _in_the_way(directory, claim)

    try:
        found = cohort.group.on_main(take)
        if not found:
            return Member(_learner(cohort, spec, directory), claim)
        _leave(cohort, spec, **found)
    except Exception as error:  # noqa: BLE001  (whatever a plugin or a disk does, the others go on)
        _give_up(cohort, spec, directory, claim, error)
    return None


def _in_the_way(directory: Path, claim: claims.Claim | None) -> dict[str, Any]:
    """The state of a run that is not to be trained now, and more about it; else nothing."""
    record = records.read(directory)  # after the claim: somebody may just have finished
    if record is not None:
        if claim is not None:  # nobody is at it: what a kill after the result left may go
            _clean(directory)
        return {"state": Outcome.DONE, "top1": record.top1}
    if claim is None:
        return {"state": Outcome.HELD, "error": "somebody else is working on it"}
    if (directory / ERROR).exists():  # since this job was made: a job does not try again
        claim.release()
        return {"state": Outcome.FAILED, "error": _first_line(directory / ERROR)}
    return {}


def _first_line(path: Path) -> str:
    return path.read_text(errors="replace").partition("\n")[0]


def _learner(cohort: Cohort, spec: RunSpec, directory: Path) -> Learner:
    """The run as it was left, with this start on record before anything that may crash."""
    group = cohort.group
    begun = group.on_main(lambda: _begin(cohort, spec, directory))
    teacher = cohort.teacher if spec.teacher else None
    probed = cohort.sources[spec.source.run] if spec.source else None
    learner = Learner(spec, cohort.data, teacher, cohort.device, directory, group, probed)
    learner.starts = begun
    checkpoint.resume(learner)
    begun[-1].update(epoch=learner.epoch, steps=learner.steps_taken)
    group.on_main(lambda: start_log.write(directory, learner.starts))
    return learner


def _begin(cohort: Cohort, spec: RunSpec, directory: Path) -> list[start_log.Start]:
    """Put this start on record; returns all of them."""
    if (directory / records.RESULT).exists():  # cut in half: `read` could make nothing of it
        records.set_aside(directory / records.RESULT)
    records.remove_temporaries(directory)
    start = environment.start_record(cohort.device)
    if cohort.group.size > 1:
        start["processes"] = cohort.group.size
    begun = start_log.begin(directory, spec.id, start, cohort.code)
    records.write_atomic(directory / "spec.yaml", yaml.safe_dump(spec.dump(), sort_keys=False))
    return begun


def guarded(
    cohort: Cohort,
    members: list[Member],
    member: Member,
    action: Callable[[Cohort, Member], None],
) -> None:
    """Do something with one member; if that fails, it alone leaves the cohort."""
    if member not in members:  # it left earlier in this very step
        return
    for other in members:
        if other.claim is not None:
            other.claim.beat()
    learner = member.learner
    try:
        action(cohort, member)
    except claims.Lost as error:
        _leave(cohort, learner.spec, Outcome.HELD, error=str(error))
        members.remove(member)
    except Exception as error:  # noqa: BLE001  (one run's failure must not end the others)
        if cohort.device.type == "cuda":
            torch.cuda.synchronize(cohort.device)  # a broken device is nobody's own failure
        _give_up(cohort, learner.spec, learner.directory, member.claim, error)
        members.remove(member)


def finish(cohort: Cohort, member: Member) -> None:
    """Publish the result of a run that has taken its last step."""
    learner = member.learner
    member.check_claim()
    learner.starts[-1]["progress"] = True  # if the result comes to stand, it was
    record = result.finish(learner)
    if member.claim is not None:
        _clean(learner.directory)
    _leave(cohort, learner.spec, Outcome.DONE, top1=record.top1)


def interrupt(cohort: Cohort, member: Member) -> None:
    """Let go of a run that is saved."""
    learner = member.learner
    cohort.states[learner.spec.id] = Outcome.INTERRUPTED
    if member.claim is not None:
        _let_go(learner.directory, member.claim, Outcome.INTERRUPTED)


def _clean(directory: Path) -> None:
    """After the result is there, it alone speaks for the run; what cannot be removed may stay."""
    with contextlib.suppress(OSError):
        (directory / CHECKPOINT).unlink(missing_ok=True)
        (directory / start_log.FILE).unlink(missing_ok=True)
        records.remove_temporaries(directory)
        claims.remove_all(directory)


def _leave(cohort: Cohort, spec: RunSpec, state: str, **more: Any) -> None:
    """Note how a run ended, and tell."""
    cohort.states[spec.id] = state
    cohort.report(spec, {"state": state, **more})


def _give_up(
    cohort: Cohort, spec: RunSpec, directory: Path, claim: claims.Claim | None, error: Exception
) -> None:
    """Record why a run ended: one line for people, the traceback below it.

    A disk's fault is told, but is not the run's: it stands at its last save, for the next start.
    Raises Broken where the other processes of the group do not know of the error.
    """
    known = isinstance(error, (Unsupported, Diverged)) or is_everywhere(error)
    if cohort.group.size > 1 and not known:
        raise Broken(f"{spec}: process {cohort.group.rank} failed alone") from error
    line = " ".join(str(error).split())
    if not isinstance(error, (Unsupported, start_log.NoProgress, records.RecordError)):
        line = f"{type(error).__name__}: {line}"
    state = Outcome.INTERRUPTED if is_storage_error(error) else Outcome.FAILED
    detail = "".join(traceback.format_exception(error)) if state == Outcome.FAILED else ""
    if claim is not None:
        _let_go(directory, claim, state, f"{line}\n\n{detail}")
    _leave(cohort, spec, state, error=line)


def _let_go(directory: Path, claim: claims.Claim, state: str, error: str = "") -> None:
    """Put on record that a run's start ends of itself, and give up the claim.

    As much of it as the disk allows: all of this is only for whoever goes on with the run.
    """
    refused = contextlib.suppress(OSError, records.RecordError)
    with refused:
        if not claim.is_held():
            return
    with refused:
        start_log.end(directory, state)
    with refused:
        if state == Outcome.FAILED:
            records.write_atomic(directory / ERROR, error)
    with refused:
        claim.release()


# No space, no quota, a broken or vanished disk: somebody sees to it, and the run can go on.
STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EROFS}


def is_storage_error(error: BaseException | None) -> bool:
    """Whether a disk's refusal is what began the chain of errors that ends in this one."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False
