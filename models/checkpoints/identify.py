"""Decide which network of the zoo a checkpoint holds."""

from __future__ import annotations

from ..base import ModelError
from .formats import Checkpoint
from .matching import Fit, describe_fits, fits, nearest


class NoFit(ModelError):  # noqa: N818  (a property of the weights)
    """The weights are readable, but fit no network of the zoo, or several."""

    exit_code = 1  # of a program that ends with it: the file is fine


def identify(checkpoint: Checkpoint, asked: str | None = None) -> Fit:
    """Return the network named by the file, else ``asked``, else the only one that fits.

    Raises NoFit if no network or several fit, ModelError if the file names another than ``asked``
    or a number of classes that it does not have.
    """
    said = checkpoint.metadata
    if said and asked not in (None, said.architecture):
        raise ModelError(f"{checkpoint.path}: says that it is {said}, not {asked}")
    if said:
        held = fits(checkpoint, [said.architecture])
        if held and held[0].num_classes not in (None, said.num_classes):
            raise ModelError(f"{checkpoint.path}: says that it is {said}, but holds {held[0]}")
        return Fit(said.architecture, said.num_classes)
    candidates = fits(checkpoint, [asked] if asked else ())
    if len(candidates) == 1:
        return candidates[0]
    if asked:
        fitting = fits(checkpoint)  # loading says what is wrong, given a number of classes
        return Fit(asked, fitting[0].num_classes if fitting else None)
    if candidates:
        raise NoFit(f"{checkpoint.path}: {describe_fits(checkpoint)}: choose with --model")
    close = nearest(checkpoint)
    hint = f"; nearest is {close[0]}: {close[1]}" if close else ""
    raise NoFit(f"{checkpoint.path}: {describe_fits(checkpoint)}{hint}")
