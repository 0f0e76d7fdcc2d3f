"""Search spaces of all methods, the configurations drawn from them, and what an entry narrows."""

import ast
from pathlib import Path

import pytest
import torch

import distillers
from distillers import Distiller, MethodError
from distillers.search import (
    Choice,
    Integers,
    LogUniform,
    Uniform,
    configurations,
    narrowed,
    own_space,
    space_of,
)
from distillers.spaces import ends
from tests.distillers.runs import Run, check_finite, total

LAST = 1 - 2**-30  # the largest fraction that the sequence can have
SEARCHED = [name for name in distillers.names() if name != "vanilla"]
COMPOSED = ["crd+kd", "ctkd+dkd", "dot+fsp", "lskd+kd", "sdd+kd", "wttm+crd"]
PRESETS = [(name, preset) for name in SEARCHED for preset in distillers.find(name).presets]


@pytest.mark.parametrize("name", SEARCHED)
def test_every_method_has_a_space_whose_corners_train(name):
    space = space_of(name)
    assert space
    for u in (0.0, LAST):
        run = Run(name, **{key: one.at(u) for key, one in space.items()})
        check_finite(run, run.losses())


@pytest.mark.parametrize("name", COMPOSED)
def test_corners_of_composed_methods_train(name):
    for u in (0.0, LAST):
        run = Run(name, **{key: one.at(u) for key, one in space_of(name).items()})
        assert torch.isfinite(total(run.losses()))


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_presets_stay_inside_their_spaces_and_ranges(name, preset):
    options = distillers.defaults(name, preset)
    space = space_of(name, preset)
    assert space
    for key, one in space.items():
        for value in ends(one):
            distillers.resolve(name, {key: value}, preset)
        if isinstance(one, LogUniform):
            assert options[key] is None or one.low <= options[key] <= one.high, key


def test_the_student_alone_has_nothing_to_search():
    assert space_of("vanilla") == {}
    with pytest.raises(MethodError, match="'vanilla': it has no option to search"):
        configurations("vanilla", {}, 2)


FORBIDDEN = ("feature_dim", "negatives", "momentum", "epochs", "warmup", "layer", "components")


@pytest.mark.parametrize("name", SEARCHED)
def test_no_sizes_and_schedules_are_searched(name):
    assert not [key for key in space_of(name) if any(part in key for part in FORBIDDEN)]


@pytest.mark.parametrize(
    ("name", "options", "keys"),
    [
        ("crd+kd", {}, {"kd", "kd_temperature", "temperature", "weight"}),
        ("crd", {"kd": 0.5}, {"kd", "kd_temperature", "temperature", "weight"}),
        ("crd+kd", {"kd": 0.0}, {"temperature", "weight"}),
        ("kd", {"ce": 0.0}, {"kd", "kd_temperature"}),
        ("simkd", {}, {"ce", "weight"}),
        ("irg", {"edge_weight": 0.0}, {"logits_weight"}),
        ("ctkd+kd", {}, {"ce", "kd", "initial_temperature", "temperature_range"}),
        ("ctkd+dkd", {}, {"alpha", "beta", "initial_temperature", "temperature_range"}),
        ("dot+sp", {}, {"delta", "weight"}),
    ],
)
def test_composed_methods_search_the_options_that_have_an_effect(name, options, keys):
    assert space_of(name, options=options).keys() == keys


def test_a_space_moves_with_a_wrapped_default():
    assert space_of("lskd+kd")["kd"] == LogUniform(0.9, 90)  # LSKD's weight is 9, KD's 0.9
    assert space_of("lskd+kd")["kd_temperature"] == LogUniform(1, 8)


# ---- configurations ------------------------------------------------------------------------------

PINNED = {
    "kd": [
        {"ce": 0.432, "kd": 1.33, "kd_temperature": 3.85},
        {"ce": 0.704, "kd": 0.301, "kd_temperature": 5.74},
        {"ce": 0.832, "kd": 4.92, "kd_temperature": 1.77},
        {"ce": 0.0617, "kd": 0.105, "kd_temperature": 12.5},
    ],
    "at": [{"weight": 4810.0}, {"weight": 384.0}, {"weight": 201.0}, {"weight": 2900.0}],
}


@pytest.mark.parametrize("name", PINNED)
def test_the_first_points_are_these(name):
    """A change would give all tuned matrices other runs."""
    own, *drawn = configurations(name, {}, 5)
    assert own == distillers.resolve(name)
    assert [{key: one[key] for key in space_of(name)} for one in drawn] == PINNED[name]


def test_more_configurations_keep_the_earlier_ones():
    many = configurations("dkd", {"alpha": 2.0}, 40, seed=3)
    for count in (1, 2, 3, 17, 39):
        assert configurations("dkd", {"alpha": 2.0}, count, seed=3) == many[:count]
    assert many[0]["alpha"] == 2.0
    assert len({tuple(one.items()) for one in many}) == 40


def test_method_and_seed_choose_the_sequence():
    space = {"kd_temperature": LogUniform(1, 16)}
    draws = [("kd", 0), ("kd", 1), ("kd", 2), ("crd", 0)]
    firsts = [configurations(name, {}, 2, seed, space)[1] for name, seed in draws]
    assert len({one["kd_temperature"] for one in firsts}) == len(draws)


def test_options_outside_the_space_are_the_entrys():
    space = {"beta": LogUniform(1, 10)}
    for one in configurations("dkd", {"alpha": 3.0}, 4, space=space)[1:]:
        assert one == {**distillers.resolve("dkd", {"alpha": 3.0}), "beta": one["beta"]}
        assert one["beta"] == float(f"{one['beta']:.3g}")


def test_points_cover_the_range():
    """Of 16 points of a Sobol sequence, one lies in every sixteenth."""
    space = {"ce": Uniform(0, 16)}
    values = [one["ce"] for one in configurations("kd", {}, 17, space=space)[1:]]
    assert sorted(int(value) for value in values) == list(range(16))


def test_a_count_below_one_is_refused():
    with pytest.raises(MethodError, match="0 configurations: expected at least 1"):
        configurations("kd", {}, 0)


def test_importing_methods_imports_no_scipy():
    """It takes half a second, which only tuning needs."""
    for file in Path(distillers.__file__).parent.glob("*.py"):
        tops = ast.parse(file.read_text()).body
        names = [a.name for node in tops if isinstance(node, ast.Import) for a in node.names]
        names += [str(node.module) for node in tops if isinstance(node, ast.ImportFrom)]
        assert not [name for name in names if name.startswith("scipy")], file


# ---- spaces --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "first", "middle", "last", "text"),
    [
        (Uniform(0, 1), 0.0, 0.5, 1.0, "0 to 1"),
        (LogUniform(1, 16), 1.0, 4.0, 16.0, "1 to 16, log"),
        (LogUniform(0.12345, 12.345), 0.12345, 1.23, 12.3, "0.12345 to 12.345, log"),
        (Integers(1, 3), 1, 2, 3, "1 to 3, whole"),
        (Choice(("a", "b")), "a", "b", "b", "one of a, b"),
    ],
)
def test_values_of_a_space(space, first, middle, last, text):
    assert [space.at(0.0), space.at(0.5), space.at(LAST)] == [first, middle, last]
    assert str(space) == text


@pytest.mark.parametrize(
    "make",
    [
        lambda: Uniform(1, 1),
        lambda: Uniform(0, float("inf")),
        lambda: LogUniform(0, 1),
        lambda: Integers(1, 2.5),
        lambda: Choice(()),
        lambda: Choice((1, 1)),
    ],
)
def test_impossible_spaces(make):
    with pytest.raises(MethodError, match="expected"):
        make()


# ---- what an entry narrows -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "written", "space"),
    [
        ("temperature", [2, 8], LogUniform(2, 8)),
        ("temperature", {"low": 2, "high": 8, "scale": "linear"}, Uniform(2, 8)),
        ("warmup", [5.0, 40], Uniform(5.0, 40)),
        ("warmup", {"low": 5, "high": 40, "scale": "log"}, LogUniform(5, 40)),
        ("beta", {"values": [1, 2.5]}, Choice((1, 2.5))),
    ],
)
def test_an_entry_narrows_an_option(key, written, space):
    whole = space_of("dkd")
    found = narrowed("dkd", whole, {key: written})
    assert found == {**whole, key: space}
    for one in configurations("dkd", {}, 3, space=found)[1:]:
        assert ends(space)[0] <= one[key] <= ends(space)[-1]


def test_a_logarithmic_range_begins_above_zero():
    with pytest.raises(MethodError, match=r"'dkd': search: beta: \[0, 4\]: expected low > 0"):
        narrowed("dkd", space_of("dkd"), {"beta": [0, 4]})


def test_whole_numbers_and_choices():
    found = narrowed("crd", {}, {"negatives": [64, 256], "positives": {"values": ["relax"]}})
    assert found == {"negatives": Integers(64, 256), "positives": Choice(("relax",))}


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"temprature": [1, 2]}, "unknown option 'temprature'.*temperature"),
        ({"temperature": [0, 4]}, r"temperature: \[0, 4\]: expected a number above 0"),
        ({"warmup": [-1, 4]}, "warmup: .*expected a number from 0"),
        ({"temperature": [4, 1]}, "expected finite numbers with low < high"),
        ({"temperature": 4}, r"expected \[low, high\]"),
        ({"temperature": [1, "4"]}, "expected numbers for low and high"),
        ({"temperature": [True, 4]}, "expected numbers for low and high"),
        ({"temperature": {"low": 1, "high": 4, "scale": "sqrt"}}, "expected scale: linear"),
        ({"temperature": {"low": 1}}, r"expected \[low, high\]"),
        ({"temperature": {"values": []}}, "expected different values"),
        ({"temperature": {"values": 3}}, "expected a list under values"),
        ({"negatives": [1.5, 4]}, "expected whole numbers"),
        ({"negatives": {"low": 1, "high": 4, "scale": "log"}}, "expected no scale"),
        ({"positives": {"values": ["exact", "near"]}}, "expected one of exact, relax"),
    ],
)
def test_what_cannot_be_searched_is_named(search, message):
    with pytest.raises(MethodError, match=message):
        narrowed("crd" if "negatives" in search or "positives" in search else "dkd", {}, search)


# ---- declarations --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"wieght": Uniform(0, 1)}, "search: unknown option 'wieght'.*weight"),
        ({"weight": (0, 1)}, "expected Uniform, LogUniform, Integers or Choice"),
        ({"weight": Uniform(-1, 1)}, "expected a number from 0"),
        ({"fraction": Uniform(0, 2)}, "expected a number from 0 to 1"),
        ([1, 2], "expected a dict, or None"),
    ],
)
def test_a_wrong_declaration_is_refused(search, message):
    body = {
        "loss": lambda self, student, teacher, batch: student.logits.sum(),
        "defaults": {"fraction": 0.5},
        "ranges": {"fraction": (0, 1)},
        "search": search,
    }
    with pytest.raises(MethodError, match=message):
        distillers.register("searched_wrongly", title="x")(type("Wrong", (Distiller,), body))


def test_a_plugin_without_a_declaration_gets_a_derived_space():
    class Own(Distiller):
        defaults = {
            "margin": 0.5, "fraction": 0.5, "temperature": 2.0, "layers": 3, "warmup": 20.0,
            "clip": None,
        }  # fmt: skip
        ranges = {"fraction": (0, 1)}
        optional = {"clip": float}

        def loss(self, student, teacher, batch):
            return student.logits.sum()

    assert own_space(Own) == {
        "margin": LogUniform(0.125, 2.0),
        "fraction": Uniform(0.05, 0.95),
        "temperature": LogUniform(1.0, 8.0),
        "weight": LogUniform(0.1, 10.0),
    }
