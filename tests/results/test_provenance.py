"""What a run and a table say of the code that made them."""

from __future__ import annotations

import pytest

from results.caveats import not_compute_matched, warnings
from results.cells import Cell
from results.provenance import code_name, code_warnings, is_other_code
from results.schema import Code, Start
from tests.results.example import document, record

CLEAN = {"commit": "a" * 40, "dirty": False, "changes": None}
OTHER = {"commit": "b" * 40, "dirty": False, "changes": None}
EDITED = {**CLEAN, "dirty": True, "changes": "1a2b3c4d5e6f"}
EDITED_MORE = {**CLEAN, "dirty": True, "changes": "ffffffffffff"}
FORMERLY = {"commit": "a" * 40, "dirty": True}  # before there were hashes of changes
UNKNOWN = {"commit": None, "dirty": None, "changes": None}

A, B = "aaaaaaaaaa", "bbbbbbbbbb"
ON_THE_WAY = "code changed between its starts"
E = f"{A} (uncommitted changes 1a2b3c4d)"


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        (CLEAN, CLEAN, False),
        (CLEAN, OTHER, True),
        (CLEAN, EDITED, True),
        (EDITED, EDITED_MORE, True),
        (EDITED, FORMERLY, False),
        (CLEAN, FORMERLY, True),
        (CLEAN, UNKNOWN, False),
        (UNKNOWN, UNKNOWN, False),
        (CLEAN, {}, False),
    ],
)
def test_codes_differ_where_it_is_known(one, other, differ):
    one, other = Code(**one), Code(**other)
    assert is_other_code(one, other) is is_other_code(other, one) is differ


@pytest.mark.parametrize(
    ("code", "name"),
    [(CLEAN, A), (EDITED, E), (FORMERLY, f"{A} (uncommitted changes)"), (UNKNOWN, "unknown")],
)
def test_names_of_codes(code, name):
    assert code_name(Code(**code)) == name


@pytest.mark.parametrize(
    ("starts", "expected"),
    [
        ([CLEAN], []),
        ([CLEAN, CLEAN], []),
        ([{**CLEAN, "submitted": OTHER}], [f"submitted with code {B}, started with {A}"]),
        ([{**EDITED, "submitted": CLEAN}], [f"submitted with code {A}, started with {E}"]),
        ([CLEAN, EDITED], [f"{ON_THE_WAY}: {A}, then {E}"]),
        ([CLEAN, UNKNOWN, CLEAN], []),
        ([CLEAN, OTHER, OTHER, CLEAN], [f"{ON_THE_WAY}: {A}, then {B}, then {A}"]),
        # The change says it already.
        ([CLEAN, {**OTHER, "submitted": CLEAN}], [f"{ON_THE_WAY}: {A}, then {B}"]),
        ([{**CLEAN, "submitted": OTHER}] * 2, [f"submitted with code {B}, started with {A}"]),
        # What trained nothing is not in the numbers.
        ([{**OTHER, "progress": False}, {**CLEAN, "progress": True}], []),
        ([], []),
    ],
)  # fmt: skip
def test_what_a_run_says(starts, expected):
    assert code_warnings([Start(**start) for start in starts]) == expected


def cell(method: str, *starts: dict, own: tuple[str, ...] = ()) -> Cell:
    first = document(70.0)["starts"][0]
    full = [{**first, **start} for start in starts]
    said = [*own, *code_warnings([Start(**start) for start in full])]
    return Cell("p", method, 0, record(70.0, run=method, starts=full, warnings=said))


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        # Everywhere the same: no mixture.
        ([cell("KD", CLEAN, OTHER), cell("AT", CLEAN, OTHER)],
         [f"{ON_THE_WAY}: {A}, then {B}: 2 runs of KD, AT"]),
        # A mixture names the change, once.
        ([cell("KD", CLEAN), cell("AT", CLEAN, OTHER)],
         [f"mixed commits: {A} (1 run), {A} then {B} (1 run of AT)"]),
        # Later than submitted, which the mixture does not say.
        ([cell("KD", CLEAN), cell("AT", {**OTHER, "submitted": CLEAN}, own=("low",))],
         ["low", f"mixed commits: {A} (1 run), {B} (1 run of AT)",
          f"submitted with code {A}, started with {B}: 1 run of AT"]),
        # Uncommitted changes: the same ones …
        ([cell("KD", EDITED), cell("AT", EDITED), cell("CRD", FORMERLY)],
         ["uncommitted changes in the code: 3 runs of KD, AT, CRD"]),
        ([cell("KD", CLEAN), cell("AT", EDITED)],
         ["uncommitted changes in the code: 1 run of AT"]),
        # … and others.
        ([cell("KD", EDITED), cell("AT", EDITED), cell("CRD", EDITED_MORE), cell("DKD", CLEAN)],
         ["mixed uncommitted changes in the code: 1a2b3c4d (2 runs), ffffffff (1 run of CRD)"]),
        ([cell("KD", EDITED, EDITED_MORE), cell("AT", EDITED)],
         ["mixed uncommitted changes in the code: 1a2b3c4d (1 run), "
          "1a2b3c4d then ffffffff (1 run of KD)"]),
        # Another commit's changes are others anyway.
        ([cell("KD", EDITED), cell("AT", {**EDITED_MORE, "commit": "b" * 40})],
         [f"mixed commits: {A} (1 run), {B} (1 run of AT)",
          "uncommitted changes in the code: 2 runs of KD, AT"]),
        # From clean to dirty: one sentence that it changed, one that it is dirty.
        ([cell("KD", CLEAN, EDITED)],
         ["uncommitted changes in the code: 1 run of KD",
          f"{ON_THE_WAY}: {A}, then {E}: 1 run of KD"]),
        # Starts that trained nothing have no say.
        ([cell("KD", CLEAN),
          cell("AT", {**EDITED, "device": "H100", "progress": False}, {**CLEAN, "progress": True})],
         []),
    ],
)  # fmt: skip
def test_what_a_table_says(cells, expected):
    assert warnings(cells) == expected


def test_different_numbers_of_processes_are_named():
    cells = [Cell("a → b", name, 0, record(80.0, run=name)) for name in ("KD", "AT")]
    assert not any("processes" in text for text in warnings(cells))
    start = {**document(80.0)["starts"][0], "processes": 4}
    cells[0] = Cell("a → b", "KD", 0, record(80.0, run="KD", starts=[start]))
    (found,) = [text for text in warnings(cells) if "processes" in text]
    assert found == "mixed numbers of processes: 1 (1 run), 4 (1 run of KD)"


def test_what_computes_more_than_the_recipe_is_named():
    plain = {"epochs": 240, "initial_epochs": 0, "views": 1}
    cells = [
        Cell("a → b", "KD", 0, record(80.0, schedule=plain)),
        Cell("a → b", "FT", 0, record(80.0, schedule={**plain, "initial_epochs": 30})),
        Cell("a → b", "MLKD", 0, record(80.0, schedule={**plain, "views": 2})),
        Cell("a → b", "former", 0, record(80.0)),
    ]
    assert not_compute_matched(cells[:1]) == not_compute_matched(cells[3:]) == []
    assert not_compute_matched(cells) == [
        "Not compute-matched: FT (240+30 epochs); MLKD (2 views of every image)"
    ]
