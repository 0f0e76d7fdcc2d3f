"""Chains, ensembles and patterns of teachers: how they are written, and what they expand to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import distillers
from experiments.errors import InputError
from experiments.matrix.expansion import Entry, Expansion, Facts
from experiments.matrix.pairs import LONGEST, MOST, PairEntry, fits, names_of, parse_pair
from experiments.matrix.run_spec import RunSpec, TeacherSpec, identity
from experiments.matrix.schema import Matrix
from experiments.matrix.select import select
from experiments.matrix.teacher_patterns import concrete
from experiments.plan.stored_expansion import decoded, encoded
from tests.experiments import cli

CHAIN = "resnet20 -> resnet14 -> resnet8"
BY_KD = "resnet20 -> resnet14 by kd -> resnet8"
ENSEMBLE = "[resnet20, vgg8] -> resnet8"
LONG = "[resnet20, vgg8] -> resnet14 -> resnet14 by dkd -> resnet8"

# ---- what is written -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "canonical", "teacher", "roots", "networks"),
    [
        ("a->b", "a -> b", "a", ("a",), ("a", "b")),
        ("none -> b", "none -> b", "none", ("none",), ("b",)),
        ("a → b→c", "a -> b -> c", "b", ("a",), ("a", "b", "c")),
        ("a -> b  by  crd+kd -> c", "a -> b by crd+kd -> c", "b", ("a",), ("a", "b", "c")),
        ("a -> a -> a", "a -> a -> a", "a", ("a",), ("a", "a", "a")),
        ("[a,b ] -> c", "[a, b] -> c", "a+b", ("a", "b"), ("a", "b", "c")),
        (
            {"teacher": ["a", "b"], "student": "c"},
            "[a, b] -> c",
            "a+b",
            ("a", "b"),
            ("a", "b", "c"),
        ),
        ({"teacher": "a", "student": "b"}, "a -> b", "a", ("a",), ("a", "b")),
        ({"teacher": "a -> b", "student": "c"}, "a -> b -> c", "b", ("a",), ("a", "b", "c")),
        ("[a, b] -> c -> d", "[a, b] -> c -> d", "c", ("a", "b"), ("a", "b", "c", "d")),
        ("r[12]*  -> c", "r[12]* -> c", "r[12]*", ("r[12]*",), ("c",)),
    ],
)
def test_a_pair_has_one_spelling(written, canonical, teacher, roots, networks) -> None:
    pair = PairEntry.model_validate(written)
    assert str(pair) == canonical
    assert (pair.teacher, pair.roots, pair.networks) == (teacher, roots, networks)
    assert PairEntry.model_validate(canonical) == pair
    assert pair.student == networks[-1]
    assert pair.is_pattern == ("*" in canonical)


def test_a_chain_knows_who_trains_its_assistants() -> None:
    last, middle, first = PairEntry.model_validate(LONG).links
    assert (last.by, middle.by, first.by) == ("dkd", None, None)
    assert str(last.assistant) == str(middle) == "[resnet20, vgg8] -> resnet14 -> resnet14"
    assert str(first) == "[resnet20, vgg8] -> resnet14" and first.assistant is None


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("a", 'expected "TEACHER -> STUDENT"'),
        ("a -> -> b", 'expected "TEACHER -> STUDENT"'),
        ("none -> a -> b", "none teaches nobody"),
        ("[a] -> b", "expected at least two networks"),
        ("[a, ] -> b", "expected at least two networks"),
        ("[a, a] -> b", "a network is given twice"),
        ("[a, none] -> b", "'none': expected the name of a network"),
        ("[a, r*] -> b", "'r*': expected the name of a network"),
        ("[a, b+c] -> d", "'b+c': expected the name of a network"),
        ("a -> [b, c] -> d", "only the first teacher can be several"),
        ("a -> r* -> b", "only the first teacher can be several"),
        ("a -> r*", "only the first teacher can be several"),
        ("a by kd -> b", 'only one between two arrows is trained "by" a method'),
        ("a -> b by kd", 'only one between two arrows is trained "by" a method'),
        (" -> ".join("ab" * MOST), f"a chain of {2 * MOST} networks: expected at most {MOST}"),
        (f"[a, {'b' * LONGEST}] -> c", f"at most {LONGEST} characters together"),
        ({"teacher": "a", "student": "b", "members": ["c"]}, "a mapping of teacher and student"),
    ],
)  # fmt: skip
def test_what_is_no_pair(written: Any, problem: str) -> None:
    with pytest.raises(ValidationError) as error:
        PairEntry.model_validate(written)
    assert problem in str(error.value)


@pytest.mark.parametrize("written", [CHAIN, ENSEMBLE, "resnet* -> resnet8"])
def test_one_pair_of_networks_is_asked_for_elsewhere(written: str) -> None:
    with pytest.raises(InputError, match='--pair: expected "TEACHER -> STUDENT", two'):
        parse_pair(written, "--pair")


@pytest.mark.parametrize("line", ["- [resnet20, vgg8] -> resnet8", "- * -> resnet8"])
def test_what_yaml_cannot_read_is_to_be_quoted(tmp_path: Path, line: str) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_text(f"dataset: digits\npairs:\n  {line}\nmethods: [kd]\n")
    called = cli.command("status", path)
    assert called.code == 2
    assert f'needs quotes: - "{line[2:]}"' in called.err


# ---- what it expands to --------------------------------------------------------------------------


def expand(*pairs: Any, **keys: Any) -> Expansion:
    return cli.expansion(**{"pairs": list(pairs), "trials": 1, "methods": ["kd"], **keys})


def only(found: Expansion, pair: str, label: str = "KD") -> list[RunSpec]:
    return [entry.spec for entry in found.entries if (entry.pair, entry.label) == (pair, label)]


def test_an_assistant_is_the_entrys_run_on_the_pair_before() -> None:
    entry = {"name": "kd", "options": {"weight": 2.0}, "pairs": {"* -> resnet14": {"weight": 3.0}}}
    (alone,) = only(expand("resnet20 -> resnet14", methods=[entry]), "resnet20 -> resnet14")
    found = expand(CHAIN, methods=[entry])
    (student,) = only(found, CHAIN)
    assert student.teacher == TeacherSpec(name="resnet14", run=alone.id)
    assert student.options["weight"] == 2.0 and alone.options["weight"] == 3.0
    assert [spec.id for spec in found.teachers] == [*alone.needs, alone.id]
    assert student.needs == (alone.id,)


def test_a_named_method_trains_the_same_assistant_for_all() -> None:
    (alone,) = only(expand("resnet20 -> resnet14"), "resnet20 -> resnet14")
    found = expand(BY_KD, methods=["vanilla", "at", {"name": "kd", "options": {"weight": 2.0}}])
    taught = [entry.spec for entry in found.entries if entry.spec.teacher]
    assert {spec.needs for spec in taught} == {(alone.id,)}
    assert len(found.teachers) == 2
    assert only(found, BY_KD, "Student alone")[0].teacher is None


@pytest.mark.parametrize(("sharing", "teachers"), [("shared", 2), ("paired", 4)])
def test_trials_of_assistants(sharing: str, teachers: int) -> None:
    found = expand(CHAIN, trials=2, teacher_trials=sharing)
    assert len(found.teachers) == teachers
    by_id = {spec.id: spec for spec in found.runs}
    trials = [by_id[spec.needs[0]].trial for spec in only(found, CHAIN)]
    assert trials == ([0, 0] if sharing == "shared" else [0, 1])


def test_everyone_comes_after_those_that_it_learns_from() -> None:
    found = expand(LONG, CHAIN, ENSEMBLE, methods=["kd", "dkd"])
    seen: set[str] = set()
    for spec in found.runs:
        assert seen.issuperset(spec.needs), spec
        seen.add(spec.id)


def test_an_ensemble_learns_from_all_its_members() -> None:
    found = expand(ENSEMBLE, "vgg8 -> resnet8")
    (student,) = only(found, ENSEMBLE)
    (other,) = only(found, "vgg8 -> resnet8")
    assert student.teacher.name == "resnet20+vgg8"
    assert [member.name for member in student.teacher.members] == ["resnet20", "vgg8"]
    assert student.needs[1:] == other.needs and len(found.teachers) == 2
    assert student.directory(Path()).parts[1] == "resnet20+vgg8--resnet8"


def test_a_member_may_be_a_given_file() -> None:
    given = {"vgg8": {"file": "vgg8.pth", "normalisation": "half"}}
    found = expand(ENSEMBLE, teachers=given, facts=Facts({"vgg8": "ab" * 32}))
    (student,) = only(found, ENSEMBLE)
    trained, file = student.teacher.members
    assert trained.run == found.teachers[0].id and file.sha256 == "ab" * 32
    assert file.normalisation is not None
    assert student.needs == (trained.run,)


def test_what_is_no_ensemble_has_the_identity_that_it_had() -> None:
    (plain,) = only(expand("resnet20 -> resnet8"), "resnet20 -> resnet8")
    assert plain.dump()["teacher"].keys() == {"name", "run", "sha256"}
    assert identity(plain)["teacher"] == {"name": "resnet20", "run": plain.teacher.run}
    (several,) = only(expand(ENSEMBLE), ENSEMBLE)
    dumped = several.dump()
    assert RunSpec.model_validate(dumped).id == several.id
    members = identity(several)["teacher"]["members"]
    assert [sorted(member) for member in members] == [["name", "run"]] * 2
    assert (
        len(
            {
                several.id,
                only(expand("[vgg8, resnet20] -> resnet8"), "[vgg8, resnet20] -> resnet8")[0].id,
            }
        )
        == 2
    )


def test_what_is_remembered_of_chains_and_ensembles_is_the_same() -> None:
    found = expand(LONG, CHAIN, BY_KD, ENSEMBLE, methods=["kd", "at"], trials=2)
    assert decoded(encoded(found)) == found


@pytest.mark.parametrize(
    ("pairs", "chosen"),
    [
        (["resnet20 → resnet14 → resnet8"], [CHAIN]),
        (["[resnet20,vgg8] -> resnet8"], [ENSEMBLE]),
        (["*resnet14*"], [CHAIN, BY_KD]),
        (["resnet20 -> *"], [CHAIN, BY_KD]),
    ],
)
def test_a_part_of_a_matrix_has_the_teachers_of_its_teachers(pairs, chosen) -> None:
    whole = expand(CHAIN, BY_KD, ENSEMBLE, methods=["at"])
    part = select(whole, pairs=pairs)
    assert [entry.pair for entry in part.entries] == chosen
    needed = expand(*chosen, methods=["at"])
    assert {spec.id for spec in part.teachers} == {spec.id for spec in needed.teachers}


@pytest.mark.parametrize(
    ("pair", "place", "problem"),
    [
        ("resnet20 -> resnet15 -> resnet8", "pairs.0.assistant", "unknown model 'resnet15'"),
        ("resnet21 -> resnet14 -> resnet8", "pairs.0.teacher", "unknown model 'resnet21'"),
        ("[resnet20, vgg9] -> resnet8", "pairs.0.teacher", "unknown model 'vgg9'"),
        ("resnet20+vgg8 -> resnet8", "pairs.0.teacher", "unknown model 'resnet20+vgg8'"),
        ("vgg8 -> resnet20+vgg8", "pairs.0.student", "unknown model 'resnet20+vgg8'"),
        ("resnet20 -> resnet14 by kdd -> resnet8", "pairs.0", "unknown method 'kdd'"),
        ("resnet20 -> resnet14 by vanilla -> resnet8", "pairs.0", "a method that has a teacher"),
        ("resnet20 -> resnet14 by simkd -> resnet8", "pairs.0", "predicts with modules of its own"),
        ("resnex* -> resnet8", "pairs.0", "no network fits 'resnex*'"),
        ("resnet8 -> resnet8 -> none", "pairs.0.student", "unknown model 'none'"),
    ],
)
def test_names_are_checked(pair: str, place: str, problem: str) -> None:
    with pytest.raises(InputError) as error:
        expand(pair)
    assert str(error.value).startswith(f"matrix: {place}: ") and problem in str(error.value)


# ---- patterns ------------------------------------------------------------------------------------


def pairs_of(*pairs: str, **keys: Any) -> list[str]:
    matrix = Matrix.model_validate(cli.changed(pairs=list(pairs), **keys))
    return [str(pair) for pair in concrete(matrix, "matrix").pairs]


def test_a_pattern_stands_for_the_networks_that_fit() -> None:
    import models

    found = pairs_of("resnet?? -> resnet20")
    expected = [n for n in models.names() if fits(n, "resnet??") and n != "resnet20"]
    assert found == [f"{name} -> resnet20" for name in expected] and len(found) > 3
    assert not any("/" in pair for pair in pairs_of("* -> resnet20"))
    assert all(pair.startswith("torchvision/") for pair in pairs_of("torchvision/* -> resnet20"))


def test_a_pattern_adds_what_is_not_there() -> None:
    found = pairs_of("vgg1? -> resnet8", "vgg13 -> resnet8", "vgg* -> resnet8")
    assert sorted(found) == sorted(set(found)) and found.index("vgg13 -> resnet8") > 0
    assert {"vgg8 -> resnet8", "vgg11 -> resnet8"} < set(found)
    assert pairs_of("vgg13 -> vgg8 -> resnet8") == ["vgg13 -> vgg8 -> resnet8"]


def test_a_chain_may_begin_with_a_pattern() -> None:
    found = pairs_of("vgg* -> vgg11 -> vgg8")
    assert found == [f"{name} -> vgg11 -> vgg8" for name in ("vgg13", "vgg16", "vgg19")]


def test_given_teachers_fit_patterns() -> None:
    keys = {"teachers": {"torchvision/vgg11": {"file": "a.pth"}}}
    assert "torchvision/vgg11 -> resnet8" in pairs_of("*vgg11 -> resnet8", **keys)
    with pytest.raises(ValidationError, match="'torchvision/vgg11' is no teacher of any pair"):
        pairs_of("resnet* -> resnet8", **keys)


def test_a_given_assistant_is_none() -> None:
    with pytest.raises(ValidationError, match="'resnet14' is no teacher of any pair"):
        expand(CHAIN, teachers={"resnet14": {"file": "a.pth"}})


def test_what_depends_on_the_pairs_of_a_pattern_is_checked_then() -> None:
    method = {"name": "kd", "pairs": {"vgg13 -> resnet8": {"weight": 2.0}}}
    assert len(pairs_of("vgg1* -> resnet8", methods=[method])) > 1
    with pytest.raises(InputError, match=r"methods.0.pairs: .* 'vgg13 -> resnet8', which"):
        pairs_of("resnet1* -> resnet8", methods=[method])
    with pytest.raises(InputError, match=r"matrix: trials: .* expected at most"):
        pairs_of("* -> resnet8", trials=500_000, methods=["kd"])


def test_options_may_be_for_an_assistant_or_a_chain() -> None:
    method = {
        "name": "kd",
        "pairs": {
            "resnet20 -> resnet14": {"weight": 2.0},
            "resnet20->resnet14→resnet8": {"weight": 3.0},
        },
    }
    found = expand(CHAIN, methods=[method])
    assert found.teachers[-1].options["weight"] == 2.0
    assert only(found, CHAIN)[0].options["weight"] == 3.0


def test_every_method_has_a_place_in_chains() -> None:
    """None fails to expand; those without a teacher are the student alone."""
    found = expand(CHAIN, methods=distillers.names())
    entries: list[Entry] = list(found.entries)
    assert len(entries) == len(distillers.names())
    for entry in entries:
        assert (entry.spec.teacher is None) == (not entry.spec.needs)


def test_keys_of_pairs_are_spaced_alike() -> None:
    assert names_of("[a,b] →  c") == ["[a, b]", "c"]
    assert names_of("r[ab]* -> c") == ["r[ab]*", "c"]
