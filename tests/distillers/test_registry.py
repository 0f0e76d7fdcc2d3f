"""Names, options, presets, composition and plugins of methods."""

import math
import sys

import pytest
import torch

import distillers
from distillers import Distiller, MethodError, Needs, register
from distillers.registry import REGISTRY
from distillers.values import checked
from models import MissingOutputError
from tests.distillers import golden


@pytest.fixture(autouse=True)
def registry():
    """Restore the registry, and forget the modules of plugins, afterwards."""
    entries, modules = dict(REGISTRY._entries), set(sys.modules)
    yield
    REGISTRY._entries.clear()
    REGISTRY._entries.update(entries)
    for name in set(sys.modules) - modules:
        if name.startswith("kd_plugin_"):
            del sys.modules[name]


def build(name, **kwargs):
    outputs = golden.outputs({"s_logits": torch.zeros(4, 3)}, "s")
    network = golden.StandIn(outputs)
    return distillers.build(name, network, network, golden.info(outputs), **kwargs)


# ---- every registered method ---------------------------------------------------------------------


@pytest.mark.parametrize("name", distillers.names())
def test_every_method_has_a_title_a_paper_and_a_docstring(name):
    cls = distillers.find(name)
    assert name == name.lower() == cls.name and "+" not in name
    assert cls.title and len(cls.__doc__.split()) >= 5
    assert cls.arxiv is None or cls.arxiv.replace(".", "").isdigit()
    if cls.needs.teacher:
        assert cls.paper, "paper: authors, venue year"


@pytest.mark.parametrize("name", distillers.names())
def test_presets_and_choices_of_every_method_fit_its_options(name):
    cls, defaults = distillers.find(name), distillers.defaults(name)
    assert cls.choices.keys() <= defaults.keys()
    assert all(defaults[option] in values for option, values in cls.choices.items())
    for preset, options in cls.presets.items():
        assert options.keys() <= defaults.keys()
        assert distillers.resolve(name, dict(options)) == distillers.defaults(name, preset)


def test_names_are_sorted():
    assert distillers.names() == sorted(distillers.names())
    assert {"vanilla", "kd", "fitnet", "at", "rkd", "crd", "dkd"} <= set(distillers.names())


# ---- names ---------------------------------------------------------------------------------------


def test_registering_makes_a_method_available():
    @register("testing", title="Testing", paper="Somebody, Somewhere 2000", arxiv="0001.00001")
    class Testing(Distiller):
        """A method of this test."""

        def loss(self, student, teacher, batch):
            return student.logits.sum()

    assert "testing" in distillers.names()
    assert distillers.find("testing") is Testing
    assert (Testing.name, distillers.title("testing")) == ("testing", "Testing")
    method = build("testing", weight=0.5)
    inputs = {"s_logits": torch.ones(4, 3)}
    outputs = golden.outputs(inputs, "s")
    losses = method(outputs, outputs, golden.batch(inputs))
    assert losses["testing"] == 6 and set(losses) == {"ce", "testing"}


def test_a_taken_name_is_rejected_with_both_places():
    with pytest.raises(MethodError, match=r"'at' of .*Again: the name is taken by 'at' of .*AT"):

        @register("at", title="AT")
        class Again(Distiller):
            """A second one."""


@pytest.mark.parametrize("name", ["AT2", "a+b", "at+kd"])
def test_names_are_lower_case_without_plus(name):
    with pytest.raises(MethodError, match="expected lower case without"):
        register(name, title="T")


def test_only_distillers_can_be_registered():
    with pytest.raises(MethodError, match="expected a subclass of Distiller"):
        register("something", title="Something")(dict)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("fitnets", "fitnet"), ("FitNet", "fitnet"), ("CRD", "crd"), ("dkdd", "dkd")],
)
def test_unknown_names_get_suggestions(typed, meant):
    with pytest.raises(MethodError, match=f"unknown method '{typed}': did you mean .*{meant}"):
        distillers.find(typed)


def test_without_a_similar_name_some_are_listed():
    with pytest.raises(MethodError, match=r"known: (\w+, ){7}\w+ and \d+ more"):
        distillers.find("zzzzzzzz")


# ---- options -------------------------------------------------------------------------------------


def test_options_are_overridden_in_the_order_base_method_preset_caller():
    assert distillers.defaults("dkd")["ce"] == 1.0
    assert distillers.defaults("kd")["ce"] == 0.1
    assert distillers.defaults("kd", "imagenet")["ce"] == 0.5
    assert distillers.resolve("kd", {"ce": 0.25}, "imagenet")["ce"] == 0.25
    assert build("kd", preset="imagenet", ce=0.25).options.kd_temperature == 1.0


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("dkd", {"betta": 2.0}, "'dkd': unknown option 'betta': did you mean beta"),
        ("dkd", {"beta": "2"}, "option beta = '2': expected float"),
        ("at", {"power": 2.5}, "option power = 2.5: expected int"),
        ("at", {"power": True}, "option power = True: expected int"),
        ("crd", {"weight": True}, "option weight = True: expected float"),
        ("crd", {"positives": "exakt"}, "positives = 'exakt': expected one of exact, relax"),
        ("at", {"weight": None}, "option weight = None: expected float"),
        ("at", {"weight": -1.0}, "option weight = -1.0: expected a number from 0"),
        ("at", {"weight": float("nan")}, "option weight = nan: expected a finite number"),
        ("at", {"power": 0}, "option power = 0: expected a number from 1"),
        ("kd", {"kd_temperature": 0}, "option kd_temperature = 0: expected a number above 0"),
        ("dkd", {"warmup_absolute": "soon"}, "= 'soon': expected float or null"),
        ("vid", {"hidden_channels": 1.5}, "= 1.5: expected int or null"),
        ("vid", {"initial_variance": 0.0}, "expected a number above 0"),
        ("mgd", {"mask_ratio": 1.5}, "mask_ratio = 1.5: expected a number from 0 to 1"),
        ("crd", {"negatives": -5}, "option negatives = -5: expected a number from 1"),
        ("lskd+crd+kd", {"momentum": 2.0}, "momentum = 2.0: expected a number from 0 to 1"),
        ("ctkd+kd", {"curriculum_absolute": True}, "= True: expected float or null"),
        ("gk_dfd", {"kappa": 1.5}, "kappa = 1.5: expected a number from 0 to 1"),
        ("gk_dfd", {"pca_ratio": 0.0}, "pca_ratio = 0.0: expected a number above 0"),
        ("gk_dfd", {"positives": 0}, "positives = 0: expected a number from 1"),
        ("gk_dfd", {"negatives": 2.5}, "negatives = 2.5: expected int or null"),
        ("gk_dfd", {"subspace_dimension": -1}, "subspace_dimension = -1"),
        ("gk_dfd", {"structure": "equal"}, "expected one of eq, signed"),
        ("gk_dfd", {"teacher_heads": "joint"}, "did you mean teacher_head"),
        ("irg", {"student_blocks": 0}, "student_blocks = 0: expected"),
        ("irg", {"vertices": "block"}, "expected one of blocks, embedding"),
        ("irg", {"edges_weight": 1.0}, "did you mean edge_weight"),
        ("vitkd", {"mask_ratio": 0.0}, "mask_ratio = 0.0: expected a number above 0 to 1"),
        ("vitkd", {"mask_ratio": -0.5}, "mask_ratio = -0.5: expected a number above 0 to 1"),
        ("vitkd", {"mask_ratio": 1.5}, "mask_ratio = 1.5: expected a number above 0 to 1"),
    ],
)
def test_wrong_options_are_rejected(method, options, message):
    with pytest.raises(MethodError, match=message):
        distillers.resolve(method, options)


def test_some_options_may_be_null_or_negative():
    assert distillers.resolve("ft", {"initial_lr": None})["initial_lr"] is None
    assert distillers.resolve("dkd", {"warmup_absolute": 1})["warmup_absolute"] == 1.0
    assert distillers.resolve("abkd", {"alpha": -0.5})["alpha"] == -0.5
    assert distillers.resolve("fitnet", {"hint_layer": 0})["hint_layer"] == 0


@pytest.mark.parametrize(
    ("default", "valid", "invalid"),
    [(2, 1, 0), (0, 0, -1), (0.5, 0.0, -0.1), (-1.0, -5.0, math.inf)],
)
def test_the_range_of_a_number_follows_its_default(default, valid, invalid):
    assert checked(Distiller, "own", valid, default) == valid
    with pytest.raises(ValueError, match="number"):
        checked(Distiller, "own", invalid, default)


@pytest.mark.parametrize("name", distillers.names())
def test_defaults_and_presets_are_valid_values(name):
    cls = distillers.find(name)
    for preset in (None, *cls.presets):
        options = distillers.defaults(name, preset)
        assert distillers.resolve(name, options) == options
    for key, value in cls.defaults.items():
        assert value is not None or key in cls.optional, f"{key}: null without a type in `optional`"


def test_an_int_is_accepted_for_a_float():
    weight = distillers.resolve("at", {"weight": 500})["weight"]
    assert weight == 500.0 and isinstance(weight, float)


def test_unknown_presets_are_rejected():
    with pytest.raises(MethodError, match="unknown preset 'imagenett': did you mean imagenet"):
        distillers.defaults("dkd", "imagenett")
    with pytest.raises(MethodError, match="unknown preset 'imagenet': the method has none"):
        distillers.defaults("vanilla", "imagenet")


# ---- a missing teacher ---------------------------------------------------------------------------


def test_a_loss_without_the_teachers_outputs_says_who_needs_them():
    student = golden.outputs({"s_logits": torch.zeros(4, 3)}, "s")
    batch = golden.batch({"s_logits": student.logits})
    for name, options in (("dkd", {}), ("tf_nkd", {"kd": 1.0})):
        method = build(name, **options)
        with pytest.raises(MissingOutputError, match=f"{name} needs the teacher's outputs"):
            method(student, None, batch)


def test_a_method_that_declares_no_teacher_but_reads_one_is_told():
    @register("testing", title="Testing")
    class Testing(Distiller):
        """A method of this test."""

        needs = Needs(teacher=False)

        def setup(self, student, teacher, info):
            self.probe_pair(student, teacher)

        def loss(self, student, teacher, batch):
            return student.logits.mean()

    student = golden.outputs({"s_logits": torch.zeros(4, 3)}, "s")
    with pytest.raises(MissingOutputError, match=r"testing .*declare Needs\(teacher=True\)"):
        distillers.build("testing", golden.StandIn(student), None, golden.info(student))


# ---- composition ---------------------------------------------------------------------------------


def test_plus_kd_is_the_method_with_kd_1():
    assert distillers.find("crd+kd") is distillers.find("crd")
    assert distillers.title("crd+kd") == "CRD+KD"
    assert distillers.defaults("crd+kd") == distillers.defaults("crd") | {"kd": 1.0}
    assert distillers.resolve("crd+kd", {"kd": 0.5})["kd"] == 0.5


@pytest.mark.parametrize("name", ["crd+", "crd+at", "+kd", "kd+kd", "vanilla+kd", "crd+kd+kd"])
def test_other_compositions_are_rejected(name):
    with pytest.raises(MethodError):
        distillers.find(name)


# ---- plugins -------------------------------------------------------------------------------------

PLUGIN = '''
from distillers import Distiller, register

@register("from_a_file", title="From a file")
class FromAFile(Distiller):
    """The mean squared logit."""
    defaults = {"weight": 3.0}

    def loss(self, student, teacher, batch):
        return student.logits.square().mean()
'''


def test_a_plugin_registers_its_method_once(tmp_path):
    file = tmp_path / "my_method.py"
    file.write_text(PLUGIN)
    digest = distillers.load_plugin(file)
    assert len(digest) == 64 and distillers.load_plugin(str(file)) == digest
    assert build("from_a_file").options.weight == 3.0


def test_a_copy_of_a_plugin_is_the_same_plugin(tmp_path):
    digests = set()
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text(PLUGIN)
        digests.add(distillers.load_plugin(tmp_path / name))
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("kd", ["kd"]),
        ("crd+kd", ["crd", "kd"]),
        ("lskd+kd", ["lskd", "kd"]),
        ("dot+lskd+crd+kd", ["dot", "lskd", "crd", "kd"]),
        ("wttm+kd", ["wttm", "kd"]),
    ],
)
def test_parts_of_a_name(name, parts):
    assert [cls.name for cls in distillers.parts(name)] == parts


def test_a_missing_plugin_is_named(tmp_path):
    with pytest.raises(MethodError, match=r"plugin .*nowhere\.py: no such file"):
        distillers.load_plugin(tmp_path / "nowhere.py")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nonexistent_module", "ModuleNotFoundError: No module named 'nonexistent_module'"),
        ("1 +", "SyntaxError"),
        (PLUGIN.replace("from_a_file", "at"), "MethodError: method 'at' of .*the name is taken"),
    ],
)
def test_a_broken_plugin_is_explained_and_can_be_reloaded_once_fixed(tmp_path, text, message):
    file = tmp_path / "broken.py"
    file.write_text(text)
    for _ in range(2):
        with pytest.raises(MethodError, match=rf"plugin .*broken\.py: {message}"):
            distillers.load_plugin(file)
    file.write_text(PLUGIN)
    distillers.load_plugin(file)
    assert "from_a_file" in distillers.names()
