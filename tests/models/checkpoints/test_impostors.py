"""Files that are no checkpoints are called what they are; so are tensors that are no weights."""

from __future__ import annotations

import gzip
import json
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

import models
from models.checkpoints.files import load_checkpoint
from models.checkpoints.formats import read_checkpoint
from models.checkpoints.identify import NoFit, identify
from models.checkpoints.matching import nearest
from tests.models.helpers import built

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 3583346\n"
FILES = {
    "LFS": (LFS, "a Git LFS pointer, .*`git lfs pull`"),
    "page": (b"\n<!DOCTYPE html><html><body>Quota exceeded</body></html>", "a web page"),
    "XML": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page"),
    "JSON": (b'{"message": "Not\x1b[31m Found"}', r"JSON text, not weights: '\{\"message\""),
    "empty": (b"", "empty: 0 bytes"),
    "gzip": (gzip.compress(b"x"), "compressed with gzip; unpack it: gunzip"),
    "7z": (b"7z\xbc\xaf\x27\x1c123", "a 7z archive"),
    "cut": (b"PK\3\4z", "cut off after 5 bytes"),
    "HDF5": (b"\x89HDF\r\n", "an HDF5 file"),
    "NumPy": (b"\x93NUMPY\1", "a NumPy array"),
    "PNG": (b"\x89PNG\r\n", "a picture"),
    "zeros": (b"\0" * 9000, r"corrupt: its first 4,096 bytes are zero"),
    "matrix": ("dataset: digits # größer\n".encode(), "text, not weights: 'dataset: digits"),
    "index": (b'{"metadata": {}, "weight_map": {}}', "the index of weights in several files"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(("content", "said"), FILES.values(), ids=FILES)
def test_the_true_cause_is_named(tmp_path, content, said, suffix):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(models.ModelError, match=said) as caught:
        read_checkpoint(path)
    assert str(caught.value).isprintable()


def test_archives_name_what_is_inside(tmp_path):
    whole = tmp_path / "whole.pth"
    torch.save(built().state_dict(), whole)
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.write(whole, "resnet56.pth")
    with tarfile.open(tmp_path / "b.pth", "w") as tar:
        tar.add(whole, "cifar_teachers/resnet56.pth")
    for name, said in (("a.pth", "a zip archive with 'resnet56.pth' inside"), ("b.pth", "a tar")):
        with pytest.raises(models.ModelError, match=said):
            read_checkpoint(tmp_path / name)
    half = tmp_path / "half.pth"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(models.ModelError, match=r"cut off after [\d,]+ bytes; download it again"):
        read_checkpoint(half)


FOLDERS = {
    "one": (["model.safetensors", "config.json"], "it holds 'model.safetensors'; give the file"),
    "sharded": (["model.safetensors.index.json", "model-1-of-2.safetensors"], "in several files"),
    "distributed": ([".metadata", "__0_0.distcp"], "torch.distributed; merge it: .*dcp_to_torch"),
    "nothing": ([], "it holds no weights"),
}


@pytest.mark.parametrize(("inside", "said"), FOLDERS.values(), ids=FOLDERS)
def test_folders_say_which_file_to_give(tmp_path, inside, said):
    for name in inside:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(models.ModelError, match=f"is not a file but a folder.*{said}"):
        read_checkpoint(tmp_path)


def test_a_file_that_cannot_be_read_is_not_called_corrupt(tmp_path, monkeypatch):
    def refuse(self, *_):
        raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / "w.pth").write_bytes(b"x")
    monkeypatch.setattr(Path, "open", refuse)  # file modes do not bind root
    with pytest.raises(models.ModelError, match=r"w.pth: cannot be read: Permission denied$"):
        read_checkpoint(tmp_path / "w.pth")


def test_complex_counters_are_refused(tmp_path):
    state = built().state_dict()
    state["bn1.num_batches_tracked"] = torch.tensor(1j)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(
        models.ModelError, match=r"'bn1\.num_batches_tracked' holds complex numbers"
    ):
        load_checkpoint(built(), tmp_path / "w.pth")


def sparse(value):
    return value.to_sparse()


ODD = {
    "NaN": (lambda v: v * float("nan"), "holds NaN or infinite values"),
    "complex": (lambda v: v.to(torch.complex64), "holds complex64; expected floating-point"),
    "int": (lambda v: v.to(torch.int8), "holds int8"),
    "bool": (lambda v: v > 0, "holds bool"),
    "float8": (lambda v: v.to(torch.float8_e4m3fn), "holds float8_e4m3fn"),
    "sparse": (sparse, "is sparse_coo; expected a plain tensor"),
    "quantized": (lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8), "is quantized"),
    "meta": (lambda v: v.to("meta"), "has no values"),
    "view": (lambda v: torch.zeros(1).expand(v.shape), "claims more values than the file holds"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("change", "said"), ODD.values(), ids=ODD)
def test_what_is_no_weight_is_refused(tmp_path, change, said):
    state = built().state_dict()
    state["conv1.weight"] = change(state["conv1.weight"])
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(models.ModelError, match=rf"'conv1.weight' {said}"):
        load_checkpoint(built(), tmp_path / "w.pth")


COUNTERS = {  # of batches
    "another layer": ("conv1.num_batches_tracked", torch.tensor(0)),
    "two of them": ("bn1.num_batches_tracked", torch.zeros(2)),
    "none": ("bn1.num_batches_tracked", torch.zeros(0)),
    "a matrix": ("bn1.num_batches_tracked", torch.zeros(1, 1)),
}


@pytest.mark.parametrize(("key", "value"), COUNTERS.values(), ids=COUNTERS)
def test_a_counter_of_no_batch_norm_is_refused(tmp_path, key, value):
    torch.save({**built().state_dict(), key: value}, tmp_path / "w.pth")
    with pytest.raises(models.ModelError, match=f"w.pth: the model has no '{key}' of shape"):
        load_checkpoint(built(), tmp_path / "w.pth")


def test_a_counter_as_torch_0_3_wrote_it_is_read(tmp_path):
    state = {**built().state_dict(), "bn1.num_batches_tracked": torch.tensor([7])}
    torch.save(state, tmp_path / "w.pth")
    model = built()
    load_checkpoint(model, tmp_path / "w.pth")
    assert model.state_dict()["bn1.num_batches_tracked"] == 7


# ---- which network it may be ---------------------------------------------------------------------


def test_the_nearest_network_is_near(tmp_path):
    torch.save({"conv1.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "w.pth")
    assert nearest(read_checkpoint(tmp_path / "w.pth")) is None
    state = built("resnet56").state_dict()
    state["layer4.weight"] = torch.ones(3)
    torch.save(state, tmp_path / "w.pth")
    found = nearest(read_checkpoint(tmp_path / "w.pth"))
    assert found == ("resnet56", "the model has no 'layer4.weight'")
    with pytest.raises(NoFit, match="nearest is resnet56"):
        identify(read_checkpoint(tmp_path / "w.pth"))


def safetensors(header, content=b""):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


def stated(classes, state):
    about = {"format": 1, "architecture": "resnet8", "num_classes": classes}
    at, tensors, content = 0, {}, b""
    for name, value in state.items():
        data = value.numpy().tobytes()
        kind = "F32" if value.is_floating_point() else "I64"
        tensors[name] = {
            "dtype": kind, "shape": list(value.shape), "data_offsets": [at, at + len(data)]
        }  # fmt: skip
        at, content = at + len(data), content + data
    return safetensors({"__metadata__": {"distillers": json.dumps(about)}, **tensors}, content)


def test_metadata_of_a_trillion_classes_allocate_nothing(tmp_path):
    (tmp_path / "w").write_bytes(stated(10**12, built().state_dict()))
    with pytest.raises(models.ModelError, match="but holds resnet8 with 10 classes"):
        identify(read_checkpoint(tmp_path / "w"))


def test_two_thousand_prefixes(tmp_path):
    state = {"module." * 2000 + name: value for name, value in built(seed=1).state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    assert len(read_checkpoint(tmp_path / "w.pth").stripped) == 2000


@pytest.mark.parametrize("size", [10**12, 2**62])
def test_a_header_of_more_than_the_file(tmp_path, size):
    (tmp_path / "w").write_bytes(
        safetensors({"a": {"dtype": "F32", "shape": [size], "data_offsets": [0, 4 * size]}})
    )
    with pytest.raises(models.ModelError, match="truncated, corrupt"):
        read_checkpoint(tmp_path / "w")


def test_nothing_raw_reaches_the_terminal(tmp_path):
    evil = "\x1b[31mred\r\n"
    content = {"model": built().state_dict(), "arch": evil, evil: evil, "note": evil * 3}
    torch.save(content, tmp_path / "w.pth")
    found = read_checkpoint(tmp_path / "w.pth")
    assert found.hint is None
    assert all(str(k).isprintable() and str(v).isprintable() for k, v in found.extra.items())
    about = {"format": 1, "architecture": evil, "num_classes": 10, "source": evil}
    head = {"__metadata__": {"distillers": json.dumps(about)}}
    tensor = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    (tmp_path / "s").write_bytes(safetensors({**head, **tensor}, b"\0" * 4))
    said = read_checkpoint(tmp_path / "s").metadata
    assert str(said).isprintable() and said.source.isprintable()
