"""A user's own files: what identifies them, what they may import, what is wrong with them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import distillers
import models
from datasets.registry import _FACTORIES
from distillers import MethodError, plugins
from distillers.registry import REGISTRY, WRAPPERS
from models.base import REGISTRY as MODELS

METHOD = '''
"""A method."""
from distillers import Distiller, register

@register("{name}", title="Own")
class Own(Distiller):
    """Pulls logits to zero."""

    def loss(self, student, teacher, batch):
        """The mean square."""
        return {term}
'''
TERM = "student.logits.square().mean()"


def method(name: str = "own", term: str = TERM, imports: str = "") -> str:
    return imports + METHOD.format(name=name, term=term)


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    """What a test registers and imports is forgotten afterwards."""
    tables = [REGISTRY._entries, WRAPPERS._entries, MODELS._entries, _FACTORIES]
    before, modules = [dict(table) for table in tables], set(sys.modules)
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)
    for name in set(sys.modules) - modules:
        if name in plugins.LOADED or name.startswith(plugins.PREFIX):
            del sys.modules[name]
    plugins.LOADED.clear()
    plugins._SIBLINGS.files.clear()


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def digest(folder: Path, text: str) -> str:
    write(folder, own=text)
    return plugins.read_plugin(folder / "own.py").digest


# ---- identity ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "edit",
    [
        ("mean()", "mean()  # over classes too"),
        ('"""The mean square."""\n        ', ""),
        ('"""A method."""', ""),
        ('"""Pulls logits to zero."""', '"""Something else."""'),
        ('title="Own"', "title = 'Own'"),
        ("\n\n", "\n\n\n\n"),
    ],
    ids=["comment", "no docstring", "module", "class", "quotes", "layout"],
)
def test_what_changes_no_result_does_not_count(tmp_path, edit):
    text = method()
    assert edit[0] in text
    assert digest(tmp_path, text.replace(*edit)) == digest(tmp_path, text)


@pytest.mark.parametrize(
    "edit",
    [("square", "abs"), ('"own"', '"other"'), ("mean()", "mean() * 2.0"), ("teacher,", "t,")],
)
def test_what_may_change_a_result_counts(tmp_path, edit):
    text = method()
    assert digest(tmp_path, text.replace(*edit)) != digest(tmp_path, text)


def test_the_digest_is_the_same_in_every_python(tmp_path):
    """Fixed by hand: a digest that depended on the interpreter would make finished runs stale."""
    text = "x = 1\n\ndef f(a, *b, c=2):\n    return f'{a}' + 'b'\n"
    expected = "a2e7e78a755f8ef770b010acbad50ca546da17465e0c7266f60af4d91081f711"
    assert digest(tmp_path, text) == expected


def test_a_file_in_the_harness_is_the_plugin_it_was(tmp_path):
    built_in = plugins.digest_of_module("distillers.dkd")
    assert built_in
    copy = tmp_path / "dkd.py"
    copy.write_text(Path(sys.modules["distillers.dkd"].__file__).read_text())
    assert plugins.read_plugin(copy).digest[: plugins.DIGITS] == built_in


# ---- folders and siblings ------------------------------------------------------------------------


def test_siblings_are_imported_and_count(tmp_path):
    text = method(term="scale(student)", imports="from my_terms import scale\n")
    write(tmp_path, own=text, my_terms="import more\nscale = more.scale\n")
    write(tmp_path, more="def scale(student):\n    return student.logits.square().mean()\n")
    before = distillers.load_plugin(tmp_path / "own.py")
    assert distillers.find("own")
    plugin = plugins.read_plugin(tmp_path / "own.py")
    assert [file.name for file in plugin.files] == ["own.py", "my_terms.py", "more.py"]
    write(tmp_path, more="def scale(student):\n    return student.logits.abs().mean()\n")
    assert plugins.read_plugin(tmp_path / "own.py").digest != before
    write(tmp_path, unrelated="x = 1\n")
    assert len(plugins.read_plugin(tmp_path / "own.py").files) == 3


def test_a_sibling_may_be_a_package_and_be_imported_late(tmp_path):
    term = "student.logits.square().mean() * __import__('my_parts.inner').inner.TWO"
    text = method(term=term, imports="import my_parts\n")
    write(tmp_path, own=text)
    write(tmp_path / "my_parts", __init__="", inner="TWO = 2\n")
    distillers.load_plugin(tmp_path / "own.py")
    assert __import__("my_parts.inner").inner.TWO == 2


def test_a_method_defined_in_a_sibling_belongs_to_the_plugin(tmp_path):
    write(tmp_path, own="import my_classes\n", my_classes=method())
    distillers.load_plugin(tmp_path / "own.py")
    (plugin,) = plugins.of_modules([distillers.find("own").__module__])
    assert plugin.path == tmp_path / "own.py"


def test_two_plugins_with_a_sibling_of_one_name(tmp_path):
    for folder in ("a", "b"):
        text = method(name=f"own_{folder}", imports="import my_terms\n")
        write(tmp_path / folder, own=text, my_terms=f"x = '{folder}'\n")
    distillers.load_plugin(tmp_path / "a" / "own.py")
    with pytest.raises(MethodError, match=r"sibling my_terms\.py has the name of a module that"):
        distillers.load_plugin(tmp_path / "b" / "own.py")


def test_names_of_python_and_of_the_harness_are_not_siblings(tmp_path):
    text = method(imports="import random, models\n")
    write(tmp_path, own=text, random="raise ValueError\n", models="raise ValueError\n")
    distillers.load_plugin(tmp_path / "own.py")
    assert plugins.read_plugin(tmp_path / "own.py").files == (tmp_path / "own.py",)


@pytest.mark.parametrize("init", [None, "", "from . import first\n"])
def test_a_folder_is_imported_whole(tmp_path, init):
    folder = tmp_path / "my methods"
    write(folder, first=method("one", imports="from .terms import HALF\n"), terms="HALF = 0.5\n")
    write(folder, second=method("two"))
    if init is not None:
        write(folder, __init__=init)
    before = distillers.load_plugin(folder)
    assert {"one", "two"} <= set(distillers.names())
    (plugin,) = plugins.of_modules([distillers.find("one").__module__])
    assert plugin.path == folder
    write(folder, terms="HALF = 0.25\n")
    assert plugins.read_plugin(folder).digest != before


def test_absolute_imports_inside_a_folder_are_explained(tmp_path):
    write(tmp_path / "mine", first=method(imports="import terms\n"), terms="")
    with pytest.raises(MethodError, match=r"in a folder, import siblings by `from \.terms import"):
        distillers.load_plugin(tmp_path / "mine")


def test_relative_imports_of_a_file_are_explained(tmp_path):
    write(tmp_path, own=method(imports="from .terms import x\n"), terms="x = 1\n")
    with pytest.raises(MethodError, match="pass the folder as the plugin"):
        distillers.load_plugin(tmp_path / "own.py")


# ---- what is wrong -------------------------------------------------------------------------------


def test_a_plugin_that_registers_nothing(tmp_path):
    write(tmp_path, own="x = 1\n")
    with pytest.raises(MethodError, match=r"own\.py: it registers nothing: expected a class under"):
        distillers.load_plugin(tmp_path / "own.py")


def test_a_folder_without_code(tmp_path):
    with pytest.raises(MethodError, match="no Python file in this folder"):
        distillers.load_plugin(tmp_path)


def test_what_a_broken_plugin_registered_is_forgotten(tmp_path):
    write(tmp_path, own=method() + "\n1 / 0\n")
    with pytest.raises(MethodError, match=r"ZeroDivisionError: division by zero"):
        distillers.load_plugin(tmp_path / "own.py")
    assert "own" not in distillers.names()
    write(tmp_path, own=method())
    distillers.load_plugin(tmp_path / "own.py")
    assert "own" in distillers.names()


NETWORK = """
import torch
from torch import nn
import models

class Small(models.StagedClassifier):
    def __init__(self, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8))
        self.fc = nn.Linear(8, num_classes)

    def stem(self, x):
        return torch.relu(self.conv(x))

    def stages(self):
        return ([self.block],)

    @property
    def classifier(self):
        return self.fc

    @property
    def preact_norms(self):
        return (None, self.block[1])

    def feature_modules(self):
        return nn.ModuleList([self.conv, self.block])

models.register("small", Small)
"""


def test_a_plugin_may_bring_a_network_only(tmp_path):
    write(tmp_path, own=NETWORK)
    distillers.load_plugin(tmp_path / "own.py")
    assert models.build("small", 5)(torch.zeros(2, 3, 16, 16)).shape == (2, 5)


@pytest.mark.parametrize(
    ("factory", "lacking"),
    [
        ("lambda num_classes: 3", "int lacks everything that a torch.nn.Module has"),
        ("lambda num_classes: torch.nn.Linear(3, num_classes)", "Linear lacks outputs("),
        (
            "type('Part', (models.Classifier,), "
            "{'__init__': lambda s, num_classes: models.Classifier.__init__(s),"
            " 'outputs': 1, 'preact_norms': (), 'feature_modules': 1})",
            "Part lacks classifier: subclass models.StagedClassifier",
        ),
    ],
)
def test_what_a_network_lacks_is_named(tmp_path, factory, lacking):
    write(tmp_path, own=f"import torch, models\nmodels.register('partial', {factory})\n")
    distillers.load_plugin(tmp_path / "own.py")
    with pytest.raises(models.ModelError) as error:
        models.build("partial", 10)
    assert lacking in str(error.value)
