"""What a run's state can be, and what is known with it."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.matrix.run_spec import RunSpec
from experiments.rundir import epochs
from experiments.rundir.epochs import Epochs
from results.schema import Record


class State:
    """What a run's status can be; the values are what people read in `status`."""

    DONE = "done"
    RUNNING = "running"
    PENDING = "pending"  # in SLURM's queue (see `cluster.queue_status`)
    TODO = "to do"
    LOST = "lost"  # its job ended without finishing it; `submit` and `run` resume it
    BLOCKED = "blocked"
    FAILED = "failed"
    STALE = "stale"
    UNSUPPORTED = "n/a"
    UNKNOWN = "unknown"  # it was sent to SLURM, which does not answer (see `cluster.queue_status`)


STATES = tuple(value for name, value in vars(State).items() if name.isupper())  # in this order
NOT_STARTED = (State.TODO, State.LOST)  # nobody works on it; `run` and `submit` start it
ACTIVE = (State.RUNNING, State.PENDING, State.UNKNOWN)  # somebody works on it, or may


@dataclass(frozen=True)
class Status:
    """A run and its state; ``detail`` is the error, the reason or what is stale.

    ``crashes`` counts the starts since the last progress that ended before one step was saved;
    ``seconds_left`` is extrapolated from the epochs since the present start. ``problem`` is what is
    wrong with its result, with the file's path, where it has one that cannot be understood.
    ``blocked`` is why it could not be trained when it was last tried; nothing stops the next try.
    ``damage`` is what is wrong with the weights of a finished run that others need: its result, in
    ``record``, counts all the same (see `plan.weights`).
    """

    spec: RunSpec
    state: str
    detail: str = ""
    epoch: int = 0  # epochs of the main stage, done and saved
    record: Record | None = None
    crashes: int = 0
    seconds_left: float | None = None
    problem: str = ""
    initial: int = 0  # epochs of an initial stage, done and saved
    blocked: str = ""
    damage: str = ""

    @property
    def epochs(self) -> Epochs:
        """How far it is, in epochs of all its stages."""
        ahead = epochs.planned_initially(self.spec)
        return Epochs(self.initial, ahead, self.epoch, self.spec.recipe.epochs)
