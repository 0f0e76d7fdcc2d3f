"""A network behind the affine map from the pixels of a data set to those it was trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Classifier
from .normalisation import Normalisation
from .outputs import Outputs


class _Renormalised(Classifier):
    """Mixed into a network's class by `renormalise`."""

    _input_scale: Tensor
    _input_shift: Tensor

    def outputs(self, x: Tensor, preacts: bool = False, blocks: bool = False) -> Outputs:
        # In the input's own type: the map is outside the operations that autocast runs in half
        # precision, and pixels come in the precision of the parameters.
        scale, shift = self._input_scale.to(x.dtype), self._input_shift.to(x.dtype)
        return super().outputs(x * scale + shift, preacts, blocks)  # type: ignore[safe-super]

    def forward(self, x: Tensor) -> Tensor:
        return self.outputs(x).logits  # also where the network has a forward() of its own


def renormalised(model: Classifier, data: Normalisation, own: Normalisation) -> Classifier:
    """``model`` as a `_Renormalised`; see `normalisation.renormalise`."""
    mean, std, their_mean, their_std = (
        torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1)
        for values in (own.mean, own.std, data.mean, data.std)
    )
    # Buffers follow the network to its device; they are in no file of weights.
    model.register_buffer("_input_scale", their_std / std, persistent=False)
    model.register_buffer("_input_shift", (their_mean - mean) / std, persistent=False)
    cls = type(model)
    model.__class__ = type(cls.__name__, (_Renormalised, cls), {"__module__": cls.__module__})
    return model
