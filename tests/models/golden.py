"""Golden fixtures of the model zoo: the references' own outputs for weights given by a formula.

One file per model, ``golden/<repository>__<name>.npz``, with the keys

    meta                       JSON: ordered state dict [[key, shape], …], n_params_trainable
    in/image                   (2, 3, 32, 32); for ImageNet the images are a formula
    out/logits, out64/logits   eval mode, computed in float32 and in float64; out/embedding
    feat/i/…, preact/i/…       stem, stages, then the embedding: stats_mean_std_min_max_meanabs,
                               first8, last8 and wsum = Σ_k f[k]·cos(0.013 k), row-major
                               (mdistiller's lists do not hold the embedding)
    train64/…                  logits of one float64 training step from fresh statistics, and the
                               sums of all running means, variances and batch counters after it
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent / "golden"


def load(name: str, repository: str = "RepDistiller") -> dict:
    """All arrays of a fixture as torch tensors, and ``meta`` parsed."""
    with np.load(FOLDER / f"{repository}__{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    meta = json.loads(str(arrays.pop("meta")))
    return {"meta": meta} | {key: torch.from_numpy(np.array(v)) for key, v in arrays.items()}


@lru_cache(maxsize=4)
def _pattern(numel: int) -> np.ndarray:
    k = np.arange(numel, dtype=np.int64)
    return 2 * ((7919 * k * k + 104729 * k + numel) % 1000003) / 1000003 - 1


def fill(model: nn.Module) -> nn.Module:
    """Weights √(3 / fan_in)·pattern; BatchNorm 1 and 0, all other biases 0; fresh statistics."""
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            scale = np.sqrt(3 / parameter[0].numel())
            values = (scale * _pattern(parameter.numel())).astype(np.float32)
            parameter.data.copy_(torch.from_numpy(values).view(parameter.shape))
        else:
            parameter.data.fill_(float(name.endswith("weight")))
    return model


def imagenet_images() -> Tensor:
    """(2, 3, 224, 224): sin(0.37 k) + 0.5·cos(0.0113 k), row-major."""
    k = np.arange(2 * 3 * 224 * 224, dtype=np.float64)
    values = np.sin(0.37 * k) + 0.5 * np.cos(0.0113 * k)
    return torch.from_numpy(values.astype(np.float32)).view(2, 3, 224, 224)


def assert_same_map(actual: Tensor, golden: dict, place: str, rtol: float = 1e-4) -> None:
    """``actual`` agrees with the summary the fixture keeps of a map (``place``: "feat/1")."""
    flat = actual.detach().double().contiguous().flatten()
    size = flat.abs().max().item()
    stats = torch.stack(
        [flat.mean(), flat.std(correction=0), flat.min(), flat.max(), flat.abs().mean()]
    )
    close(stats, golden[f"{place}/stats_mean_std_min_max_meanabs"], rtol * size)
    close(flat[:8], golden[f"{place}/first8"], rtol * size)
    close(flat[-8:], golden[f"{place}/last8"], rtol * size)
    wsum = (flat * torch.cos(0.013 * torch.arange(len(flat), dtype=torch.float64))).sum()
    close(wsum, golden[f"{place}/wsum"], rtol * flat.abs().sum().item())


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual.double(), expected.double(), rtol=0, atol=atol)
