"""How far a run is, counting the epochs of an initial stage, which come before the recipe's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.matrix.run_spec import RunSpec

OPTION = "initial_epochs"  # of methods that have an initial stage
# As `distillers.base.REFERENCE_EPOCHS`: to import that takes a second, which `status` has not.
REFERENCE_EPOCHS = 240


@dataclass(frozen=True)
class Epochs:
    """Epochs done and planned, of the initial and of the main stage.

    ``initial_planned`` is 0 where the method names the length of its initial stage in no option.
    """

    initial: int
    initial_planned: int
    main: int
    main_planned: int

    @property
    def left(self) -> int:
        """Epochs of both stages that are to do."""
        ahead = 0 if self.main else max(0, self.initial_planned - self.initial)
        return ahead + self.main_planned - self.main

    def __str__(self) -> str:
        """ "epoch 17/240", "initial stage, epoch 12/30"; empty before the first is done."""
        if self.main:
            return f"epoch {self.main}/{self.main_planned}"
        return in_initial(self.initial, self.initial_planned) if self.initial else ""


def in_initial(epoch: int, planned: int) -> str:
    """ "initial stage, epoch 12/30"; without the 30 where it is not known (0)."""
    return f"initial stage, epoch {epoch}{f'/{planned}' if planned else ''}"


def planned_initially(spec: RunSpec) -> int:
    """Epochs of a run's initial stage by its options; see `Distiller.initial_epochs`."""
    given = spec.options.get(OPTION)
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        return 0
    return max(1, round(given * spec.recipe.epochs / REFERENCE_EPOCHS))


def counted(history: str) -> tuple[int, int]:
    """Rows of a history.csv: of the initial stage, of the main one."""
    lines = history.splitlines()
    initial, main = (sum(line.startswith(f"{s},") for line in lines) for s in ("initial", "main"))
    return initial, main


def since(initial: int, main: int, start: Mapping[str, Any]) -> int | None:
    """How many of the epochs done (``initial`` and ``main``) a start has done; None if unknown.

    A start logs its epoch, not its stage: unknown also where it could have begun in either.
    """
    epoch, steps = start.get("epoch", main + 1), start.get("steps")
    if not isinstance(epoch, int) or epoch < 1:  # a start that nobody here has logged
        return None
    first = initial + main - epoch + 1  # if it began in the initial stage
    second = main - epoch + 1  # if in the main one
    if not initial:
        found = second
    elif steps == 0 or not main or second < 0:
        found = first
    elif epoch > initial:
        found = second
    else:
        return None
    return found if found >= 1 else None
