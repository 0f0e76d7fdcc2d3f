"""Archives from strangers: refused in one line, in no time, and before anything is allocated."""

from __future__ import annotations

import io
import re
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

import datasets
from datasets import DataError, npz

IMAGES = np.arange(8 * 8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 8, 3)
LABELS = np.arange(8) % 2
ARRAYS = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS}


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def header(text, version=b"\x01\x00"):
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + length + text.encode("latin1")


def archive(compression=zipfile.ZIP_STORED, **members):
    """An .npz of good arrays, of which some members are replaced by other bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as target:
        for key, array in ARRAYS.items():
            target.writestr(f"{key}.npy", members.pop(key, None) or npy(array))
        for name, content in members.items():
            target.writestr(name, content)
    return bytearray(file.getvalue())


def with_central_bytes(offset, value):
    """A good archive of which bytes in the first entry of the central directory are replaced."""
    content = archive()
    start = content.index(b"PK\x01\x02") + offset
    content[start : start + len(value)] = value
    return content


def declared(shape, descr="|u1", order="False"):
    return header(f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n") + b"1"


STRANGE = {
    "huge": (
        archive(x_train=declared((10**9, 10**9, 3))),
        "x_train.npy declares uint8 (1000000000,",
    ),
    "negative": (
        archive(x_train=declared((-1, 8, 8, 3))),
        "x_train.npy has the shape (-1, 8, 8, 3)",
    ),
    "fractional": (archive(x_train=declared((1.5,))), "cannot be read"),
    "short": (archive(x_train=npy(IMAGES)[:-5]), "declares uint8 (8, 8, 8, 3), but holds 1,531"),
    "long": (archive(x_train=npy(IMAGES) + b"x"), "declares uint8 (8, 8, 8, 3), but holds 1,537"),
    "text": (archive(x_train=b"no array"), "x_train.npy is no array (.npy)"),
    "none": (archive(x_train=b"\x93NUMP"), "x_train.npy is no array (.npy)"),
    "objects": (archive(y_train=npy(np.array([{}] * 8))), "y_train.npy holds Python objects"),
    "fields": (archive(y_train=npy(np.zeros(8, "i4,f4"))), "y_train.npy is [('f0', '<i4'), ('f1',"),
    "nested": (archive(y_train=header("(" * 9000 + ")" * 900)), "cannot be read"),
    "version": (archive(y_train=header("{}", b"\x03\x00")), "header is of version (3, 0)"),
    "long name": (archive(**{"y" * 500: b""}), "unknown key 'yyy"),
    "escape": (archive(**{"\x1b[2J.npy": b""}), r"unknown key '\x1b[2J'"),
    "members": (archive(**{f"x_{k}": b"" for k in range(100)}), "unknown key 'x_0'"),
    "encrypted": (with_central_bytes(8, b"\x01"), "x_train.npy is encrypted"),
    "compression": (with_central_bytes(10, b"\x63"), "x_train.npy is compressed by method 99"),
    "declared bomb": (with_central_bytes(24, b"\xfe\xff\xff\xff"), "which no images do"),
    "checksum": (with_central_bytes(16, b"abcd"), "cannot be read"),
    "elsewhere": (with_central_bytes(42, b"\xff\xff\xff\x7f"), "cannot be read"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
    "page": (b"\n<!DOCTYPE html><html>Not found</html>", "is a web page"),
    "pickle": (b"\x80\x04cos\nsystem\n", "is a pickle"),
    "npy": (npy(IMAGES), "is a single array (.npy)"),
    "gzip": (b"\x1f\x8b\x08", "is a gzip archive: unpack it first"),
    "tar": (b"x" * 257 + b"ustar\x00" + b"0" * 300, "is a tar archive"),
    "empty": (b"", "is empty"),
    "zip of nothing": (b"PK\x05\x06" + bytes(18), "no x_train, y_train, x_test, y_test; it holds"),
    "cut": (archive()[:-10], "cannot be read"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_it_is_refused_in_one_line(tmp_path, name):
    content, message = STRANGE[name]
    (tmp_path / "own.npz").write_bytes(content)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        datasets.build("arrays", tmp_path, file="own.npz")
    text = str(caught.value)
    assert text.isprintable() and text.startswith(str(tmp_path / "own.npz")) and len(text) < 600


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "FREE_BYTES", 2**20)
    zeros = npy(np.zeros((2**10, 32, 32, 3), np.uint8))
    (tmp_path / "own.npz").write_bytes(archive(zipfile.ZIP_DEFLATED, x_train=zeros))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"would unpack .* bytes to .*, which no images do"):
            datasets.build("arrays", tmp_path, file="own.npz")
        assert tracemalloc.get_traced_memory()[1] < 2**18
    finally:
        tracemalloc.stop()


def test_more_than_the_memory_is_refused(tmp_path, monkeypatch):
    (tmp_path / "own.npz").write_bytes(archive())
    monkeypatch.setattr(npz.os, "sysconf", lambda name: 8)
    with pytest.raises(DataError, match=r"would unpack to [0-9,]* bytes, and this machine has 64"):
        datasets.build("arrays", tmp_path, file="own.npz")


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_every_compression_and_order_gives_the_same_arrays(tmp_path, compression):
    members = {"x_train": npy(np.asfortranarray(IMAGES)), "y_train": npy(LABELS.astype(">i8"))}
    prints = set()
    for content in (archive(), archive(compression, **members)):
        (tmp_path / "own.npz").write_bytes(content)
        prints.add(datasets.build("arrays", tmp_path, file="own.npz").fingerprint)
    assert len(prints) == 1


def test_a_folder_is_called_one(tmp_path):
    (tmp_path / "own.npz").mkdir()
    with pytest.raises(DataError, match=r"own\.npz': a folder, expected a file; looked for "):
        datasets.build("arrays", tmp_path, file="own.npz")
    with pytest.raises(DataError, match=r"other\.npz': no such file; looked for "):
        datasets.build("arrays", tmp_path, file="other.npz")


@pytest.mark.parametrize("file", ["a\0b.npz", "~nobody-here/a.npz", "", "a\nb.npz", "x" * 5000])
def test_a_path_that_cannot_be_is_refused(tmp_path, file):
    with pytest.raises(DataError, match="arrays: option file = ") as caught:
        datasets.build("arrays", tmp_path, file=file)
    assert str(caught.value).isprintable()
