"""A cohort of runs: they join it (claim, resume) and leave it (finish, fail, release)."""

from __future__ import annotations

import contextlib
import errno
import functools
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

import distillers
from datasets import Data, DataError, Stream
from distillers import Unsupported
from experiments import environment
from experiments.matrix.run_spec import RunSpec
from experiments.rundir import blocked, claims, start_log
from experiments.rundir.layout import BLOCKED, CHECKPOINT, ERROR
from experiments.rundir.outcome import Outcome
from experiments.train import checkpoint, result
from experiments.train.distributed import SINGLE, Broken, ProcessGroup, is_known_to_all
from experiments.train.learner import Learner
from experiments.train.memory import shortage
from experiments.train.meter import Diverged
from experiments.train.shared import ChangedInPlaceError, Permanent, Watch
from experiments.train.teachers import Teacher
from results import records

Report = Callable[[RunSpec, dict[str, Any]], None]


@dataclass(eq=False)
class Member:
    """A learner and the claim it works under, which only the main process holds."""

    learner: Learner
    claim: claims.Claim | None

    def save(self) -> None:
        self.check_claim()
        self.learner.check()  # a diverged state must not replace the last good one
        checkpoint.save(self.learner)

    def check_claim(self) -> None:
        """Raise claims.Lost if another process took the run over: nothing may be written then."""
        held = self.learner.group.on_main(lambda: self.claim is None or self.claim.is_held())
        if not held:
            raise claims.Lost(f"another process took over {self.learner.directory}")

    @property
    def has_progress(self) -> bool:
        """Whether this start is on record as having made progress."""
        return bool(self.learner.starts[-1]["progress"])

    def note_progress(self) -> None:
        """Put on record that this start made progress."""
        self.check_claim()
        self.learner.starts[-1]["progress"] = True
        self.learner.group.on_main(
            lambda: start_log.write(self.learner.directory, self.learner.starts)
        )


@dataclass
class Cohort:
    """Runs that train together, and what they need for it.

    teacher       None if no run has one
    save_minutes  time between two saves within an epoch
    stop          asked at every step boundary; True ends the cohort after a save
    report        called with every finished epoch's row, and with {"state": …} when a run ends
    code          `environment.code` at submission, if another process submitted the runs
    group         the processes that train the cohort together
    predictions   how those of the last test are stored (`results.predictions.WANTED`)
    sources       weights of the students that probes read, by run id
    states        how runs ended, by run id
    members       the runs that have joined and not left
    joining       the claim of the run that is joining
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
    predictions: str = "auto"
    sources: Mapping[str, Path] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    joining: claims.Claim | None = None

    def at(self, position: tuple[str, int], stream: Stream) -> list[Member]:
        """The members that are in this (stage, epoch) and train on this stream."""
        at_position = (m for m in self.members if m.learner.position == position)
        return [m for m in at_position if m.learner.stream == stream]

    def beat(self) -> None:
        """Show other processes that the claims of all members are still held.

        Called after every piece of work, be it a batch or a network that is built, and never by a
        clock: a process that hangs must lose its claims.
        """
        for claim in (*(member.claim for member in self.members), self.joining):
            if claim is not None:
                claim.beat()

    # ---- joining -------------------------------------------------------------------------------

    def join(self, spec: RunSpec) -> Member | None:
        """Claim a run and resume it; None if it is done, held by another process, or fails."""
        directory = spec.directory(self.runs)
        claim = None

        def take() -> dict[str, Any]:
            nonlocal claim
            directory.mkdir(parents=True, exist_ok=True)
            claim = self.joining = claims.take(directory)
            return _skip_reason(directory, claim)

        watch = self.permanent.watch
        try:
            reason = self.group.on_main(take)
            if reason:
                self._report_end(spec, **reason)
                return None
            member = Member(self._resume(spec, directory), claim)
            watch.check(spec.method)
        except Exception as error:  # noqa: BLE001  (any plugin or disk error: the others continue)
            self._record_failure(spec, claim, error)
            self.permanent.restore()
            return None
        finally:
            self.joining = None
        self.members.append(member)
        return member

    def _resume(self, spec: RunSpec, directory: Path) -> Learner:
        """The run as its last save left it.

        The start goes on record before anything that may crash: the next start counts crashes.
        """
        starts = self.group.on_main(lambda: self._record_start(spec, directory))
        teacher = self.teacher if spec.teacher else None
        source = self.sources[spec.source.run] if spec.source else None
        learner = Learner(
            spec, self.data, teacher, self.device, directory, self.group, source, self.predictions
        )
        learner.starts, learner.progressed = starts, self.beat
        self.beat()
        checkpoint.resume(learner)
        self.beat()
        starts[-1].update(epoch=learner.epoch, steps=learner.steps_taken)
        self.group.on_main(lambda: start_log.write(directory, learner.starts))
        return learner

    def _record_start(self, spec: RunSpec, directory: Path) -> list[start_log.Start]:
        """Put this start on record; returns all starts of the run."""
        if (directory / records.RESULT).exists():  # `_skip_reason` could not read it: cut in half
            records.set_aside(directory / records.RESULT)
        records.remove_temporaries(directory)
        start = environment.start_record(self.device)
        if self.group.size > 1:
            start["processes"] = self.group.size
        starts = start_log.begin(directory, spec.id, start, self.code)
        records.write_atomic(directory / "spec.yaml", yaml.safe_dump(spec.dump(), sort_keys=False))
        blocked.clear(directory)
        return starts

    # ---- what members share --------------------------------------------------------------------

    @functools.cached_property
    def permanent(self) -> Permanent:
        """The teacher and the labels, which no member may change."""
        return Permanent(self.teacher, self.data.info.train_labels)

    @contextlib.contextmanager
    def blamed(self, member: Member, watch: Watch) -> Iterator[None]:
        """An error in the body that follows from writing into shared tensors says so.

        Autograd complains of some of these writes, without a name.
        """
        try:
            yield
        except Exception as error:
            names = self._changed_here(watch)
            if names:
                raise ChangedInPlaceError(member.learner.spec.method, names) from error
            raise

    def _changed_here(self, watch: Watch) -> list[str]:
        return [*watch.changed(), *self.permanent.watch.changed()]

    def changed(self, watch: Watch) -> list[str]:
        """The names of shared tensors that were written into, in any process of the group."""
        names = self._changed_here(watch)
        if self.group.size == 1:
            return names
        (anywhere,) = self.group.any(bool(names))
        return names or ["a tensor in another process"] * anywhere

    def expel(self, member: Member, changed: list[str]) -> None:
        """A member that wrote into shared tensors fails; what is permanent is restored."""
        self.permanent.restore()
        if member not in self.members:  # it has failed already
            return
        with self.isolate_failure(member):
            error = ChangedInPlaceError(member.learner.spec.method, changed)
            error.known_to_all = True
            raise error

    # ---- leaving -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def isolate_failure(self, member: Member) -> Iterator[None]:
        """If the body raises, ``member`` alone leaves the cohort; the others continue."""
        spec = member.learner.spec
        try:
            yield
        except claims.Lost as error:
            self._report_end(spec, Outcome.HELD, error=str(error))
            self.members.remove(member)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is this run's failure)
            if self.device.type == "cuda":
                # After a device error this raises again: then every run is affected.
                torch.cuda.synchronize(self.device)
            self._record_failure(spec, member.claim, error)
            self.members.remove(member)

    def fail(self, members: Iterable[Member], error: Exception) -> None:
        """An error that concerns all of these members, such as a file that cannot be read."""
        for member in list(members):
            with self.isolate_failure(member):
                raise error

    def finish(self, member: Member) -> None:
        """Publish the result of a run that has taken its last step."""
        learner = member.learner
        member.check_claim()
        learner.starts[-1]["progress"] = True  # as the result says, which only exists if it is so
        top1 = result.finish(learner, member.check_claim)
        if member.claim is not None:
            _clean(learner.directory)
        self._report_end(learner.spec, Outcome.DONE, top1=top1)

    def remove_finished(self) -> None:
        """Finished members leave."""
        self.members = [m for m in self.members if m.learner.stage != "done"]

    def interrupt(self, reason: str | None = None) -> None:
        """Release all runs for a later start: saved, or given up here for a ``reason``."""
        for member in self.members:
            self.states[member.learner.spec.id] = Outcome.INTERRUPTED
            if reason:
                self._report_end(member.learner.spec, Outcome.INTERRUPTED, error=reason)
            if member.claim is not None:
                _release(member.learner.directory, member.claim, Outcome.INTERRUPTED)
        self.members = []

    def _report_end(self, spec: RunSpec, state: str, **more: Any) -> None:
        self.states[spec.id] = state
        self.report(spec, {"state": state, **more})

    def _record_failure(self, spec: RunSpec, claim: claims.Claim | None, error: Exception) -> None:
        """Record why a run ended: one line for people, the traceback below it.

        A storage error, or too many workers for a GPU's memory, is reported but not recorded
        against the run: the next start resumes it from its last save. Raises Broken if the other
        processes of the group have not seen the error: they would wait for this one forever.
        """
        known = isinstance(error, (Unsupported, Diverged)) or is_known_to_all(error)
        if self.group.size > 1 and not known:
            raise Broken(f"{spec}: process {self.group.rank} failed alone") from error
        plain = isinstance(error, (start_log.NoProgress, records.RecordError, DataError))
        line = " ".join(str(error).split()) if plain else distillers.explain(error)
        short = shortage(error)
        line, passes = short or line, bool(short) or is_storage_error(error)
        state = Outcome.INTERRUPTED if passes else Outcome.FAILED
        if claim is not None:
            trace = "".join(traceback.format_exception(error))
            _release(spec.directory(self.runs), claim, state, f"{line}\n\n{trace}")
        self._report_end(spec, state, error=line)


def _skip_reason(directory: Path, claim: claims.Claim | None) -> dict[str, Any]:
    """Why a run is not trained now, as the fields of a report; empty if it is trained."""
    if claim is not None:
        records.finish(directory)
    record = records.read(directory)  # after the claim: another process may just have finished it
    if record is not None:
        if claim is not None:  # no process holds the run: remove what one killed here left
            _clean(directory)
        return {"state": Outcome.DONE, "top1": record.top1}
    if claim is None:
        return {"state": Outcome.HELD, "error": "another process is working on it"}
    if (directory / ERROR).exists():  # it failed after this job was made, which does not retry
        claim.release()
        first_line = (
            (directory / ERROR).read_text(encoding="utf-8", errors="replace").partition("\n")[0]
        )
        return {"state": Outcome.FAILED, "error": first_line}
    return {}


def _clean(directory: Path) -> None:
    """Remove what a run needs only until its result exists; what cannot be removed stays."""
    for name in (CHECKPOINT, start_log.FILE, BLOCKED):
        with contextlib.suppress(OSError):
            (directory / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        records.remove_temporaries(directory)
    with contextlib.suppress(OSError):
        claims.remove_all(directory)


def _release(directory: Path, claim: claims.Claim, state: str, error: str = "") -> None:
    """Record that a start ended without crashing, and release the claim.

    Each step is tried even if the disk refuses the one before: they only help the next start.
    """
    ignore_refusal = contextlib.suppress(OSError, records.RecordError)
    with ignore_refusal:
        if not claim.is_held():
            return
    with ignore_refusal:
        start_log.end(directory, state)
    with ignore_refusal:
        if state == Outcome.FAILED:
            records.write_atomic(directory / ERROR, error)
    with ignore_refusal:
        claim.release()


# Storage errors (retryable) against failures of the run: no space, no quota, a broken or vanished
# disk. People repair these, and the run can resume.
STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EROFS}


def is_storage_error(error: BaseException | None) -> bool:
    """Whether the chain of errors that ends in this one began with a storage error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False
