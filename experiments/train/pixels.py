"""On which pixels a given network was trained: said by a person, by its file, or as the data's."""

from __future__ import annotations

from dataclasses import dataclass

from datasets import Data
from models import ModelError
from models.normalisation import Normalisation


@dataclass(frozen=True)
class Pixels:
    """A network's own normalisation, and the other one under which the data set gives pixels."""

    own: Normalisation
    data: Normalisation

    def __str__(self) -> str:
        return f"{self.own} (the data set's: {self.data})"


def of(
    given: Normalisation | None, stated: Normalisation | None, data: Data, where: str
) -> Pixels | None:
    """What has to be done to the pixels of ``data`` before the network; None where nothing has.

    given   what a person said of the network
    stated  what its file ``where`` says

    Raises ModelError where both differ, and where a person said it and the data set's is unknown.
    """
    check(given, stated, where)
    own, known = given or stated, data.normalisation
    if own is None or (given is None and known is None):
        return None
    if known is None:
        raise ModelError(
            f"{where}: {own} is given, but the data set {data.info.name} does not say how it "
            "normalises its own pixels (attribute normalisation)"
        )
    theirs = Normalisation.model_validate(known)
    return None if own.equals(theirs) else Pixels(own, theirs)


def check(given: Normalisation | None, stated: Normalisation | None, where: str) -> None:
    """Raise ModelError if a person and the file ``where`` say different things."""
    if given and stated and not given.agrees(stated):
        raise ModelError(
            f"{where}: states that its pixels were normalised by {stated}, but {given} is given"
        )


def warning(stated: Normalisation | None, data: Data, name: str) -> str | None:
    """One sentence where a file states a normalisation that cannot be compared with the data's."""
    if stated is None or data.normalisation is not None:
        return None
    return (
        f"teacher {name}: its file states that its pixels were normalised by {stated}; whether "
        f"{data.info.name} gives the same is unknown"
    )
