"""YAML as people mean it, and errors about it in one line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from experiments.errors import InputError
from experiments.matrix import schema, yaml_loader


def load(folder: Path, text: str):
    path = folder / "matrix.yaml"
    path.write_text(text)
    return yaml_loader.load(path, "a key")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # numbers as people write them, and as YAML 1.1 has them
        ("1e-3", 1e-3),
        ("1E3", 1000.0),
        ("1.5e3", 1500.0),
        ("-2e+2", -200.0),
        ("5.", 5.0),
        (".5", 0.5),
        ("-1.25", -1.25),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("0", 0),
        ("-0", 0),
        ("240", 240),
        ("+7", 7),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0b101", 5),
        ("017", 15),
        # times of day and versions are no numbers
        ("12:30:00", "12:30:00"),
        ("90:00", "90:00"),
        ("1:30.5", "1:30.5"),
        ("1-12:00:00", "1-12:00:00"),
        ("1.2.3", "1.2.3"),
        ("e5", "e5"),
        ("16G", "16G"),
        ("08", "08"),
        ("-x", "-x"),
        # all else stays as YAML has it
        ("true", True),
        ("no", False),
        ("On", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("'12'", "12"),
        ("resnet8", "resnet8"),
        ("[1, 2e-1, a]", [1, 0.2, "a"]),
    ],
)
def test_values(tmp_path, text, value):
    found = load(tmp_path, f"key: {text}\n")["key"]
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_a_number(tmp_path):
    assert math.isnan(load(tmp_path, "key: .nan\n")["key"])


def test_aliases_and_merges(tmp_path):
    text = "a: &a {lr: 1e-2}\nb: *a\nc: {<<: *a, epochs: 2}\n"
    assert load(tmp_path, text)["c"] == {"lr": 0.01, "epochs": 2}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "key 'a' is given twice, in lines 1 and 3"),
        ("a:\n  b: 1\n  'b': 2\n", "key 'b' is given twice, in lines 2 and 3"),
        ("a: [{c: 1, d: 2, c: 1}]\n", "key 'c' is given twice, in lines 1 and 1"),
        ("a: {}\n? a\n: 1\n", "key 'a' is given twice"),
    ],
)
def test_a_repeated_key_is_an_error(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        load(tmp_path, text)


def test_the_same_key_in_two_mappings_is_none(tmp_path):
    assert load(tmp_path, "a: {x: 1}\nb: {x: 2}\n") == {"a": {"x": 1}, "b": {"x": 2}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a mapping with a key"),
        ("{}", "expected a mapping with a key"),
        ("- a\n- b\n", "expected a mapping with a key"),
        ("12", "expected a mapping with a key"),
        ("a: [1\n", "invalid YAML"),
        ("a: b: c\n", "values are not allowed here, line 1, column 5: a: b: c ^"),
        ("\ta: 1\n", "; write spaces instead of tabs"),
        ("a:\n\t- 1\n", "; write spaces instead of tabs"),
        ("a: 2001-99-99\n", "invalid YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", "invalid YAML"),
        ("a: *unknown\n", "invalid YAML"),
        ("a: " + "[" * 500, "invalid YAML"),
    ],
    ids=range(12),
)
def test_what_is_no_mapping_is_said_in_one_line(tmp_path, text, said):
    with pytest.raises(InputError) as raised:
        load(tmp_path, text)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'matrix.yaml'}: ")
    assert said in message
    assert "\n" not in message
    assert "<unicode" not in message  # PyYAML's name of a text, where the file is named already


def test_what_cannot_be_read(tmp_path):
    (tmp_path / "digits.yaml").write_text("a: 1")
    with pytest.raises(InputError, match=r"no such file; did you mean .*digits\.yaml\?"):
        yaml_loader.load(tmp_path / "digit.yaml", "a key")
    with pytest.raises(InputError, match=r"cannot be read: Is a directory"):
        yaml_loader.load(tmp_path, "a key")
    (tmp_path / "image.yaml").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(InputError, match="not a text file"):
        yaml_loader.load(tmp_path / "image.yaml", "a key")


def test_a_board_file_in_place_of_a_matrix(tmp_path):
    board = tmp_path / "ours.jsonl"
    with pytest.raises(InputError, match="no such file"):
        schema.load(board)
    board.write_text('{"format": 1}\n{"format": 1}\n')
    with pytest.raises(InputError, match=r"ours\.jsonl: a board file, expected a matrix: `table "):
        schema.load(board)
