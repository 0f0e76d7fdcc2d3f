"""What a plan will cost: steps, disk and time, from past results or a few timed steps."""

from __future__ import annotations

import functools
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

import distillers
from datasets import Data, Stream
from distillers import Distiller, Needs
from experiments.matrix.run_spec import RunSpec
from experiments.plan.cohorts import together
from experiments.plan.data_sets import DataSets
from experiments.plan.timing import Stopwatch, parameters_of, step_kind, takes_two_passes
from experiments.rundir.status import NOT_STARTED, Status
from experiments.train import one_sample
from results import predictions
from results.schema import Record

# Of a job, before its first step: imports, data, building. Measured: 2.5 to 4 s on one core.
START_SECONDS = 3.0
BACKWARD = 2 / 3  # of a training step, roughly, is its backward pass


@dataclass(frozen=True)
class Cost:
    """Totals over the runs that are to do.

    of       predicted seconds of each run on one worker, by run id; None if unknown
    seconds  their sum; None if any is unknown
    """

    steps: int
    disk_bytes: int
    of: dict[str, float | None]
    gpus: tuple[str, ...] = ()  # names of those whose results were used

    @property
    def seconds(self) -> float | None:
        known = [value for value in self.of.values() if value is not None]
        return sum(known) if known and len(known) == len(self.of) else None


def predict_cost(
    statuses: Iterable[Status],
    data: DataSets,
    device: str,
    timed: bool = True,
    processes: int = 1,
    cohort_size: int | None = None,
    start_seconds: float = START_SECONDS,
    gpu: str | None = None,
) -> Cost:
    """Steps, bytes of weights and seconds of all runs that are to do, without what is saved.

    Seconds come from results of the same pair and method on the same kind of device (of several
    types of GPU, the slowest; with ``gpu``, only those with it in their name), else (if
    ``timed``) from a few steps on this machine, if it has such a device. They include tests after
    epochs, the teacher's pass and first test, divided among the runs of a cohort (at most
    ``cohort_size``; None: no limit), and the start of a job (``start_seconds``). Several
    ``processes`` per run are assumed to speed it up linearly.
    """
    statuses = list(statuses)
    todo = [s for s in statuses if s.state in NOT_STARTED]
    steps = sum((s.spec.recipe.epochs - s.epoch) * _steps(s.spec, data) for s in todo)
    if device == "cpu" and todo:
        torch.set_num_threads(min(s.spec.recipe.threads for s in todo))
    clocks = _Clocks(todo, data, torch.device(device), cohort_size, start_seconds)
    clocks.learn(statuses, gpu)
    possible = timed and (device == "cpu" or torch.cuda.is_available())
    seconds = {s.spec.id: clocks.seconds(s, possible, processes) for s in todo}
    size = functools.cache(parameters_of)
    # While a run trains, a checkpoint takes three times what its weights take.
    disk = sum(4 * size(s.spec.student, data.info(s.spec).num_classes) for s in todo)
    return Cost(steps, disk, seconds, clocks.sources(s.spec for s in todo))


def _steps(spec: RunSpec, data: DataSets, sampler: str | None = None) -> int:
    """Of an epoch, in a single process."""
    return one_sample.count(data.info(spec), sampler)[1]


def predictions_bytes(cost: Cost, data: Data, wanted: str) -> int:
    """What the runs of ``cost`` store of their predictions; ``wanted`` as in the matrix."""
    return len(cost.of) * predictions.size(wanted, data.sizes["test"], data.info.num_classes)


class _Clocks:
    """How long runs take: as recorded for the same pair and method, else as timed here."""

    def __init__(
        self,
        todo: Sequence[Status],
        data: DataSets,
        device: torch.device,
        cohort_size: int | None,
        start_seconds: float,
    ) -> None:
        self.data, self.device, self.start_seconds = data, device, start_seconds
        self.watches: dict[str, Stopwatch] = {}  # by data set
        self.by_images: dict[str, Stopwatch] = {}
        self.recorded: dict[tuple[object, ...], float] = {}
        self.devices: dict[tuple[object, ...], tuple[str, ...]] = {}  # that these are from
        self.teams = Counter(_team(s.spec) for s in todo)
        self.sharing = Counter(_team(s.spec) + _stream(s.spec) for s in todo)
        self.taught = Counter((s.spec.teacher, s.spec.dataset.key) for s in todo)
        self.limit = cohort_size
        # A method's own part of its student's, by its name and the watch.
        self.ratios: dict[tuple[str, int], float] = {}

    def learn(self, statuses: Iterable[Status], gpu: str | None = None) -> None:
        """Take over the speeds of finished runs on the same kind of device, and type of GPU."""
        rates: dict[tuple[object, ...], dict[str, list[float]]] = {}
        for s in statuses:
            rate = s.record.images_per_second if s.record else None
            if s.record and rate and _device(s.record) == self.device.type:
                name = _name(s.record) if self.device.type == "cuda" else "cpu"
                if name == "cpu" or _is_type(name, gpu):
                    of_kind = rates.setdefault(_kind(s.spec), {})
                    of_kind.setdefault(name, []).append(rate / _processes(s.record))
        self.devices = {kind: tuple(sorted(found)) for kind, found in rates.items()}
        self.recorded = {
            kind: min(statistics.median(each) for each in found.values())
            for kind, found in rates.items()
        }

    def sources(self, specs: Iterable[RunSpec]) -> tuple[str, ...]:
        """The names of the GPUs whose speeds predict these runs."""
        if self.device.type != "cuda":
            return ()
        return tuple(sorted({name for s in specs for name in self.devices.get(_kind(s), ())}))

    def seconds(self, status: Status, timed: bool, processes: int) -> float | None:
        """Of the rest of a run; None if it is unknown."""
        spec, left = status.spec, status.spec.recipe.epochs - status.epoch
        rate = self.recorded.get(_kind(spec))
        if rate:
            training = left * self.data.info(spec).train_size / rate
        elif timed:
            training = self._initial(spec, status.epoch) + left * self._epoch(spec)
            training += self._tests(spec, left)
        else:
            return None
        return training / processes + self._share(spec, timed)

    # ---- parts ---------------------------------------------------------------------------------

    def _watch(self, spec: RunSpec) -> Stopwatch:
        """That of a run's data. Parts of one data set share it: their images cost the same."""
        key = spec.dataset.key
        if key not in self.watches:
            watch = Stopwatch(self.data.of(spec.dataset), self.device)
            self.watches[key] = self.by_images.setdefault(_images(spec), watch)
        return self.watches[key]

    def _epoch(self, spec: RunSpec) -> float:
        """An epoch of the main stage without its test."""
        needs = _needs(spec)
        stream = Stream(needs.sampler, needs.views)
        passes = 1 + len(needs.views)
        student = self._student(spec) * passes
        if takes_two_passes(distillers.find(spec.method)):
            student *= 1 + BACKWARD
        per_image = student + self._method(spec) + self._shared(spec, needs, passes)
        return self._images(spec, stream) * per_image

    def _shared(self, spec: RunSpec, needs: Needs, passes: int) -> float:
        """This run's part of the teacher's pass and of drawing the batch."""
        stream = Stream(needs.sampler, needs.views)
        common = self._watch(spec).batches(stream, spec.recipe)
        if spec.teacher and needs.teacher:
            common += self._watch(spec).forward(spec.teacher.name, spec.recipe) * passes
        return common / self._members(self.sharing[_team(spec) + _stream(spec)])

    def _student(self, spec: RunSpec) -> float:
        if spec.source:  # a probe trains one layer; the network below it runs forward only
            return self._watch(spec).forward(spec.student, spec.recipe)
        return self._watch(spec).training(spec.student, spec.recipe)

    def _method(self, spec: RunSpec) -> float:
        """A method's own part, timed on one pair and scaled to others by the student's time."""
        if spec.source:
            return 0.0
        watch = self._watch(spec)
        key = spec.method, id(watch)
        if key not in self.ratios:
            try:
                self.ratios[key] = watch.method(spec) / self._student(spec)
            except distillers.Unsupported:
                return 0.0
        return self.ratios[key] * self._student(spec)

    def _initial(self, spec: RunSpec, epoch: int) -> float:
        """The initial stage, if the method has one and it has not been passed."""
        method = distillers.find(spec.method)
        if epoch or method.init_stage is Distiller.init_stage or spec.source:
            return 0.0
        ahead = self._watch(spec).initial_epochs(spec)
        return ahead * self._epoch(spec)

    def _tests(self, spec: RunSpec, left: int) -> float:
        """The tests after epochs, and the last one on the test set where images are held out."""
        data, every = self.data.of(spec.dataset), spec.recipe.eval_every
        last = 0 if data.epoch_split == data.scored_on else data.scored
        images = math.ceil(left / every) * data.sizes[data.epoch_split] + last
        return images * self._watch(spec).forward(spec.student, spec.recipe)

    def _share(self, spec: RunSpec, timed: bool) -> float:
        """This run's part of a job's start, and of the test of its teacher, which is done once."""
        seconds = self.start_seconds / self._members(self.teams[_team(spec)])
        if spec.teacher and timed:
            images = self.data.of(spec.dataset).scored
            passes = 2 if spec.teacher.members else 1  # members are also tested one by one
            test = passes * images * self._watch(spec).forward(spec.teacher.name, spec.recipe)
            seconds += test / self.taught[spec.teacher, spec.dataset.key]
        return seconds

    def _members(self, count: int) -> int:
        """How many of ``count`` runs share a cohort."""
        return max(1, min(count, self.limit or count))

    def _images(self, spec: RunSpec, stream: Stream) -> int:
        if stream.sampler is None:
            return self.data.info(spec).train_size
        return _steps(spec, self.data, stream.sampler) * spec.recipe.batch_size


def _kind(spec: RunSpec) -> tuple[object, ...]:
    """Runs of one kind train as many images a second."""
    return spec.pair, spec.method, _images(spec), step_kind(spec.recipe)


def _images(spec: RunSpec) -> str:
    """What the images of a run are like, whichever part of them it trains on."""
    return f"{spec.dataset.name} {spec.dataset.options}"


def _team(spec: RunSpec) -> tuple[object, ...]:
    """Runs that can be in one cohort have the same."""
    return spec.teacher, *together(spec)


def _stream(spec: RunSpec) -> tuple[object, ...]:
    """Runs that read the same batches have the same."""
    needs = _needs(spec)
    return needs.sampler, needs.views


def _needs(spec: RunSpec) -> Needs:
    return distillers.find(spec.method).needs_of(spec.options)


def _processes(record: Record) -> int:
    """How many processes shared a finished run's last start."""
    return record.starts[-1].processes if record.starts else 1


def _name(record: Record) -> str:
    """The device of a finished run's last start."""
    return (record.starts[-1].device if record.starts else None) or "cpu"


def _is_type(name: str, gpu: str | None) -> bool:
    """Whether "NVIDIA A100-SXM4-40GB" is an "a100": SLURM's names for types are a site's own."""
    return gpu is None or gpu.lower() in name.lower().replace(" ", "_")


def _device(record: Record) -> str:
    """The kind of device of a finished run's last start."""
    device = record.starts[-1].device if record.starts else None
    return "cpu" if (device or "cpu").startswith("cpu") else "cuda"
