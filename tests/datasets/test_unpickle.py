"""The restricted unpickler: reads every dialect CIFAR comes in, runs nothing."""

from __future__ import annotations

import os
import pickle
import random
import struct

import numpy as np
import pytest

from datasets import DataError
from datasets.unpickle import load_dict

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6), dtype=np.uint8)


def write(folder, content):
    path = folder / "file"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("array", [PIXELS, np.asfortranarray(PIXELS), np.arange(5), PIXELS[::2]])
def test_arrays_of_every_protocol(tmp_path, protocol, array):
    entry = {"data": array, "labels": [1, 2], b"name": b"x", "meta": {"a": ("b", 1.5, None)}}
    loaded = load_dict(write(tmp_path, pickle.dumps(entry, protocol)))
    assert list(loaded) == ["data", "labels", "name", "meta"]
    assert loaded["data"].dtype == array.dtype
    np.testing.assert_array_equal(loaded["data"], array)
    assert loaded["labels"] == [1, 2]
    assert loaded["meta"] == {"a": ("b", 1.5, None)}


def as_python2_wrote_it(pixels):
    """The official files' dialect: protocol 2, byte strings, numpy.core (opcodes by hand)."""

    def string(raw):
        return b"T" + struct.pack("<i", len(raw)) + raw

    dtype = b"cnumpy\ndtype\n" + string(b"u1") + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + string(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
    array += string(b"b") + b"\x87R(K\x01K" + bytes([pixels.shape[0]])
    array += b"K" + bytes([pixels.shape[1]]) + b"\x86" + dtype + b"\x89" + string(pixels.tobytes())
    labels = string(b"fine_labels") + b"](K\x03K\x07e"
    return b"\x80\x02}(" + string(b"data") + array + b"tb" + labels + b"u."


def test_the_official_files_dialect(tmp_path):
    content = as_python2_wrote_it(PIXELS)
    honest = pickle.loads(content, encoding="latin1")  # the bytes above are a true numpy pickle
    np.testing.assert_array_equal(honest["data"], PIXELS)
    loaded = load_dict(write(tmp_path, content))
    np.testing.assert_array_equal(loaded["data"], PIXELS)
    assert loaded["fine_labels"] == [3, 7]


class Calls:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("nested", [False, True])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, protocol, nested):
    trace = tmp_path / "trace"
    evil = Calls(os.mkdir, str(trace))
    path = write(tmp_path, pickle.dumps({"data": [evil]} if nested else evil, protocol))
    with pytest.raises(DataError, match=r"file: refused: it asks for (posix|nt|os)\.mkdir"):
        load_dict(path)
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists()  # it would have run


@pytest.mark.parametrize(
    "entry",
    [
        {"data": Calls(eval, "1")},
        {"data": Calls(getattr, "", "join")},
        {"data": np.array([None, "x"], dtype=object)},
        {"data": np.float64(1.0)},
        {"data": np.zeros(3)},
        {"data": np.dtype([("a", "u1")])},
        {"data": Calls(np.load, "x")},
        {"data": {1, 2}.__class__},
    ],
    ids=lambda entry: type(entry["data"]).__name__,  # no addresses: xdist compares the ids
)
def test_anything_but_whole_numbers_and_text_is_refused(tmp_path, entry):
    with pytest.raises(DataError, match="refused"):
        load_dict(write(tmp_path, pickle.dumps(entry, 2)))


def test_persistent_ids_and_dotted_names_are_refused(tmp_path):
    for content in (b"\x80\x02Pid\n.", b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93."):
        with pytest.raises(DataError):
            load_dict(write(tmp_path, content))


def test_other_text_encodings_are_refused(tmp_path):
    content = b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R."
    with pytest.raises(DataError, match="refused: text encoding 'rot13'"):
        load_dict(write(tmp_path, content))


def test_what_is_no_dictionary_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds a list, expected a dictionary"):
        load_dict(write(tmp_path, [1]))


def test_damaged_files_give_one_line(tmp_path):
    """Cut anywhere, or with a byte changed: a DataError, or a dictionary of harmless things."""
    whole = pickle.dumps({"data": PIXELS, "labels": [1, 2, 3], "names": ["a", "b"]}, 2)
    cut = [whole[:length] for length in range(len(whole) - 1)]
    for content in cut:
        with pytest.raises(DataError, match="file: ") as caught:
            load_dict(write(tmp_path, content))
        assert "\n" not in str(caught.value)
    chance = random.Random(0)
    outcomes = set()
    for _ in range(1000):
        changed = bytearray(whole)
        changed[chance.randrange(2, len(whole))] = chance.randrange(256)
        try:
            outcomes.add(type(load_dict(write(tmp_path, bytes(changed)))))
        except DataError:
            outcomes.add(DataError)
    assert outcomes == {dict, DataError}


def test_an_unreadable_file_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        load_dict(tmp_path)  # a folder


def test_control_characters_of_a_file_do_not_reach_the_message(tmp_path):
    with pytest.raises(DataError, match=r"asks for os\\x1b\[2J\.system") as caught:
        load_dict(write(tmp_path, b"\x80\x02cos\x1b[2J\nsystem\n."))
    assert str(caught.value).isprintable()
