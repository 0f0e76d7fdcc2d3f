"""Any .npz builds a data set or is refused in one printable line, and does no harm."""

from __future__ import annotations

import io
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import datasets
from datasets import DataError
from tests.fuzz.guard import harmless

PLACE = Path(tempfile.mkdtemp(prefix="kd-npz-"))
IMAGES = np.arange(8 * 4 * 4 * 3, dtype=np.uint8).reshape(8, 4, 4, 3)
ARRAYS = {"x_train": IMAGES, "y_train": np.arange(8), "x_test": IMAGES, "y_test": np.arange(8)}
TYPES = "?bBhHiIlLqQefdgFDGSUVOMm"
NUMBERS = st.sampled_from([0, 1, -1, 2, 3, 9, 255, 256, 10**9, -(2**31), 2**62])

sizes = st.one_of(st.integers(0, 9), st.sampled_from([-1, 2**31, 2**64, 10**30]))
shapes = st.lists(sizes, max_size=5).map(tuple)
headers = st.one_of(
    st.builds(
        "{{'descr': {!r}, 'fortran_order': {}, 'shape': {}, }}".format,
        st.sampled_from(["|u1", "<i8", ">f4", "|O", "<U9", "|V0", "|S0", "<M8[s]", "u1,i4", "x"]),
        st.sampled_from(["True", "False", "3"]),
        shapes,
    ),
    st.text("{}[]()',:0123456789descrshapfotn_\x1b\n", max_size=40),
    st.integers(1, 4000).map(lambda n: "(" * n),
)


@st.composite
def arrays(draw):
    """Small arrays of every type; the values of labels, and what is no label."""
    code = draw(st.sampled_from(TYPES))
    shape = draw(st.sampled_from([(8,), (8, 1), (8, 4, 4, 3), (8, 3, 4, 4), (8, 4, 4), (3,), ()]))
    content = np.zeros(shape, f"{code}4" if code in "SUV" else code)
    if code in "bBhHiIlLqQefd" and content.size:
        with np.errstate(all="ignore"):
            content.flat[0] = np.array(draw(NUMBERS)).astype(code)
    return content


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def member(text):
    raw = text.encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw


members = st.one_of(arrays().map(npy), headers.map(member), st.binary(max_size=30))
keys = st.one_of(
    st.sampled_from([*ARRAYS, "class_names", "mean", "std"]),
    st.text(max_size=8).filter(lambda key: "\0" not in key),  # zipfile cuts there
    st.just("../../x"),
)


def zipped(changes, compression):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for key, content in ({k: npy(v) for k, v in ARRAYS.items()} | changes).items():
            archive.writestr(f"{key}.npy", content)
    return file.getvalue()


compressions = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
archives = st.builds(zipped, st.dictionaries(keys, members, max_size=2), compressions)


@st.composite
def mutated(draw):
    """A valid file of which a few bytes are others, or the end is missing."""
    content = bytearray(zipped({}, draw(compressions)))
    for place, value in draw(st.dictionaries(st.integers(0, 10**4), st.integers(0, 255))).items():
        content[place % len(content)] = value
    return bytes(content[: len(content) - draw(st.sampled_from([0, 0, 0, 1, 22, 300]))])


def check(content):
    path = PLACE / "own.npz"
    path.write_bytes(content)
    with harmless(seconds=2.0):
        try:
            data = datasets.build("arrays", PLACE, file="own.npz", batch_size=4)
            next(data.train_stream(0, 1))
        except DataError as error:
            text = str(error)
            assert text.isprintable() and text.startswith(str(path)) and len(text) < 800
            return
    assert data.info.num_classes <= 300 and data.info.image_size <= 8


@given(archives)
def test_any_members(content):
    check(content)


@given(mutated())
def test_any_bytes(content):
    check(content)


@given(st.binary(max_size=200))
def test_any_file(content):
    check(content)


@pytest.fixture(autouse=True, scope="module")
def _nothing_is_left():
    yield
    (PLACE / "own.npz").unlink(missing_ok=True)
    PLACE.rmdir()
