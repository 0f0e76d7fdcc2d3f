"""Decide which network of the zoo a checkpoint holds."""

from __future__ import annotations

from ..base import ModelError
from .formats import Checkpoint
from .matching import Fit, describe_fits, fits, nearest


def identify(checkpoint: Checkpoint, asked: str | None = None) -> Fit:
    """Return the network named by the file, else ``asked``, else the only one that fits.

    Raises ModelError if no network or several fit, or if the file names another than ``asked``.
    """
    said = checkpoint.metadata
    if said and asked not in (None, said.architecture):
        raise ModelError(f"{checkpoint.path}: says that it is {said}, not {asked}")
    if said:
        return Fit(said.architecture, said.num_classes)
    candidates = fits(checkpoint, [asked] if asked else ())
    if len(candidates) == 1:
        return candidates[0]
    if asked:
        return Fit(asked, None)  # loading says what is wrong
    if candidates:
        raise ModelError(f"{checkpoint.path}: {describe_fits(checkpoint)}: choose with --model")
    close = nearest(checkpoint)
    hint = f"; nearest is {close[0]}: {close[1]}" if close else ""
    raise ModelError(f"{checkpoint.path}: {describe_fits(checkpoint)}{hint}")
