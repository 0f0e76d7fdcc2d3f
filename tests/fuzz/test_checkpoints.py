"""Made-up checkpoints are read, or refused in one line; nothing is executed and nothing hangs."""

from __future__ import annotations

import io
import json
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import models
from models.checkpoints.files import load
from models.checkpoints.formats import read_checkpoint
from models.checkpoints.identify import identify
from models.checkpoints.matching import fits, nearest, notes_on
from tests.fuzz.guard import harmless

WEIGHTS = models.build("resnet8", 10).state_dict()
NAMES = list(WEIGHTS)
PREFIXES = ("module.", "model.", "student.", "teacher.", "ema.", "features.module.", "\x1b[31m.")
KEYS = (
    "model",
    "state_dict",
    "net",
    "ema",
    "teacher",
    "student",
    "optimizer",
    "0",
    "\n",
    "état",
    "",
)
DTYPES = (torch.float16, torch.float64, torch.int8, torch.complex64, torch.bool)


@pytest.fixture(scope="module", autouse=True)
def all_templates() -> None:
    """The zoo's signatures, which are made once per process."""
    state = {**WEIGHTS, "extra": torch.ones(1)}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    fits(_read(Path("/dev/shm"), buffer.getvalue()))


def _read(folder: Path, data: bytes) -> Any:
    path = folder / "kd-fuzz.pth"
    path.write_bytes(data)
    try:
        return read_checkpoint(path)
    finally:
        path.unlink()


@st.composite
def states(draw: st.DrawFn) -> dict[str, Any]:
    """Weights of a network after some changes."""
    state: dict[str, Any] = dict(WEIGHTS)
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(list(state) or ["a"]))
        action = draw(st.integers(0, 6))
        value = state.get(name)
        if action == 0:
            state.pop(name, None)
        elif action == 1:
            state[name] = draw(st.sampled_from([None, 3, "x", b"y", [], {}, 1e400, np.float32(2)]))
        elif action == 2 and isinstance(value, torch.Tensor):
            state[name] = value.to(draw(st.sampled_from(DTYPES)))
        elif action == 3:
            shape = draw(st.lists(st.integers(0, 3), max_size=5))
            state[name] = torch.zeros(shape)
        elif action == 4:
            state[draw(st.text(max_size=20))] = torch.ones(2)
        elif action == 5:
            state = {draw(st.sampled_from(PREFIXES)) + k: v for k, v in state.items()}
        elif isinstance(value, torch.Tensor) and value.numel():
            state[name] = value.flatten()[:1].expand(7)
    return state


contents = st.recursive(
    states() | st.none() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.dictionaries(st.sampled_from(KEYS), inner, max_size=3) | st.lists(inner, max_size=3)
    ),
    max_leaves=4,
)


def is_handled(path: Path, model: torch.nn.Module, part: str = "student", old: str = "") -> None:
    """Read, identified and loaded; or a ModelError of one printable line."""
    with warnings.catch_warnings(), harmless(path.parent):
        warnings.simplefilter("ignore")
        try:
            found = read_checkpoint(path, part, [(old, "new.")] if old else [])
            assert all(note.isprintable() for note in found.notes)
            assert all(str(v).isprintable() for pair in found.extra.items() for v in pair)
            if not fits(found):
                nearest(found)
            identify(found)
            load(model, found)
            notes_on(found, model)
        except models.ModelError as error:
            assert str(error).isprintable(), str(error)


@given(
    content=contents,
    is_zip=st.booleans(),
    part=st.sampled_from(["student", "teacher", "ema", "raw"]),
    old=st.sampled_from(["", "", "module.", "layer1.", "x"]),
)
def test_contents(
    content: Any, is_zip: bool, part: str, old: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "content.pth"
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    is_handled(path, models.build("resnet8", 10), part, old)


def saved(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "safetensors":
        about = {"format": 1, "architecture": "resnet8", "num_classes": 10}
        header: dict[str, Any] = {"__metadata__": {"distillers": json.dumps(about)}}
        data = b""
        for name, value in WEIGHTS.items():
            raw = value.numpy().tobytes()
            header[name] = {
                "dtype": "F32" if value.is_floating_point() else "I64",
                "shape": list(value.shape),
                "data_offsets": [len(data), len(data) + len(raw)],
            }
            data += raw
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data
    torch.save({"model": WEIGHTS}, buffer, _use_new_zipfile_serialization=kind == "zip")
    return buffer.getvalue()


FILES = {kind: saved(kind) for kind in ("zip", "legacy", "safetensors")}


@given(
    kind=st.sampled_from(list(FILES)),
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), max_size=4
    ),
    head=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=3),
    kept=st.just(1.0) | st.floats(0, 1),
)
def test_bytes(
    kind: str,
    changes: list[tuple[float, bytes]],
    head: list[tuple[int, int]],
    kept: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    data = bytearray(FILES[kind])
    for place, new in changes:
        at = int(place * len(data))
        data[at : at + len(new)] = new
    for at, byte in head:
        data[at] = byte
    path = tmp_path_factory.getbasetemp() / "bytes.pth"
    path.write_bytes(bytes(data[: int(kept * len(data))]))
    is_handled(path, models.build("resnet8", 10))


@given(
    about=st.dictionaries(
        st.sampled_from(["format", "architecture", "num_classes", "source", "accuracy", "more"]),
        st.none() | st.integers() | st.floats() | st.text() | st.lists(st.integers()),
    )
)
def test_metadata(about: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    size = int.from_bytes(FILES["safetensors"][:8], "little")
    header = json.loads(FILES["safetensors"][8 : 8 + size])
    stated = {"format": 1, "architecture": "resnet8", "num_classes": 10, **about}
    header["__metadata__"] = {"distillers": json.dumps(stated)}
    text = json.dumps(header).encode()
    path = tmp_path_factory.getbasetemp() / "metadata.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + FILES["safetensors"][8 + size :])
    is_handled(path, models.build("resnet8", 10))
