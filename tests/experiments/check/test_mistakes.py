"""Classic mistakes of a method's author: each is named when planning, none is trained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.experiments import cli

pytestmark = pytest.mark.usefixtures("own_registry", "no_training")
MISTAKES = Path(__file__).parent / "mistakes"

# What the person reads, by the file with the mistake; {file} is the plugin's name.
SENTENCES = {
    "misspelled_hook": "'los' is no hook: did you mean 'loss'?",
    "misspelled_field": "'default' is no hook: did you mean 'defaults'?",
    "no_term": "class Mine ({file}:8): it overrides no term, so it would train plain cross-entropy",
    "own_init": "overrides __init__: create connectors and buffers in setup(",
    "too_few_arguments": (
        "expected loss(self, student, teacher, batch), got loss(self, student, teacher)"
    ),
    "needs_as_text": "needs = 'embedding': expected distillers.Needs(…)",
    "returns_float": (
        "loss() of mine returned a float; expected a scalar tensor or a dict of them ({file}:10)"
    ),
    "returns_none": "loss() of mine returned None; expected a scalar tensor or a dict of them",
    "returns_vector": "loss() of mine returned a tensor of shape (8,); expected a scalar tensor",
    "returns_dict_of_vectors": "returned a tensor of shape (8,) under 'near'; expected a scalar",
    "options_as_dict": (
        "loss() of mine: options are attributes: write self.options.margin ({file}:12: return"
    ),
    "undeclared_option": (
        "no option 'margins': declare it in `defaults`; did you mean margin? ({file}:12:"
    ),
    "undeclared_need": (
        "({file}:11: return student.preacts[1].square().mean()); student.preacts is None: declare "
        "needs = Needs(preacts=True)"
    ),
    "undeclared_view": 'student.views is (): declare needs = Needs(views=("NAME",))',
    "connectors_in_a_list": "self.connectors of mine is not trained, saved or moved",
    "connector_in_loss": "loss() of mine makes a Linear in every step, which is never trained",
    "connector_made_late": "self.connector.bias of mine appears in the first step",
    "unused_connector": "self.connector.weight of mine gets no gradient: no term uses it",
    "tensor_as_parameter": "self.matrix of mine is not trained, saved or moved to the device",
    "stores_teacher": "self.teacher of mine is a part of the teacher",
    "stores_classifier": "self.head of mine is a part of the student",
    "detached_student": "loss() of mine does not depend on the student",
    "no_grad": "loss() of mine does not depend on the student",
    "teacher_in_place": "mine changes teacher.embedding in place, which others read too",
    "teacher_in_place_by_data": "mine changes teacher.embedding in place",
    "images_in_place": "mine changes batch.images in place",
    "labels_in_place": "mine changes batch.labels in place",
    "student_in_place": "mine changes student.features[0] in place",
    "counter_outside_the_checkpoint": "a step changes self.steps of mine, which no checkpoint",
    "key_error": "loss() of mine: KeyError: 'far' ({file}:12: return table[\"far\"]",
    "last_epoch": "the term 'mine' of mine is inf in epoch 2, on noise",
    "wrong_prediction": "predict() of mine returned (8, 64); expected logits of shape (8, 4)",
    "shapes_differ": "loss() of mine: RuntimeError: The size of tensor a (64) must match",
    "registers_nothing": "it registers nothing: expected a class under @distillers.register(…)",
    "plain_network": (
        "model 'mine': Small lacks outputs(x, preacts, blocks), classifier, preact_norms, "
        "feature_modules(): subclass models.StagedClassifier"
    ),
}


def test_every_file_has_its_sentence():
    assert {path.stem for path in MISTAKES.glob("*.py")} == set(SENTENCES)


# What cannot even be imported; all others are found in the dry step of planning.
AT_IMPORT = {
    "misspelled_hook",
    "misspelled_field",
    "no_term",
    "own_init",
    "too_few_arguments",
    "needs_as_text",
    "registers_nothing",
}


@pytest.mark.parametrize("mistake", SENTENCES)
def test_planning_names_it(tmp_path, mistake):
    """A matrix of which something is left without the plugin would go on with that."""
    plugin = MISTAKES / f"{mistake}.py"
    pair = "resnet14 -> mine" if mistake == "plain_network" else "resnet14 -> resnet8"
    matrix = cli.write(
        tmp_path,
        plugins=[str(plugin)],
        methods=["mine"] if mistake in AT_IMPORT else ["vanilla", "mine"],
        pairs=[pair],
        trials=1,
    )
    called = cli.command("run", matrix)
    assert called.code == 2
    (line,) = called.err.splitlines()
    assert line.startswith(f"error: {matrix}: ")
    assert SENTENCES[mistake].format(file=plugin.name) in line


@pytest.mark.parametrize("mistake", ["returns_float", "misspelled_hook", "connectors_in_a_list"])
def test_check_names_it_as_well(mistake):
    plugin = MISTAKES / f"{mistake}.py"
    called = cli.call("check", str(plugin), "--pair", "resnet14 -> resnet8", "--image-size", "16")
    assert called.code in (1, 2)
    assert SENTENCES[mistake].format(file=plugin.name) in called.out + called.err


def test_the_network_of_the_readme_passes(tmp_path):
    page = (MISTAKES.parents[3] / "models" / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "small.py").write_text(code)
    called = cli.call(
        "check", str(tmp_path / "small.py"), "--pair", "resnet8 -> small", "--image-size", "16"
    )
    assert (called.code, called.err) == (0, "")
    assert called.out.count("  ok  ") == 6


WRONG_NETWORK = """
import torch
from models import Classifier, Outputs, register
from torch import nn

class Net(Classifier):
    def __init__(self, num_classes):
        super().__init__()
        self.fc = nn.Linear(3, num_classes)

    classifier = property(lambda self: self.fc)
    preact_norms = (None, None)

    def feature_modules(self):
        return nn.ModuleList()

    def outputs(self, x, preacts=False, blocks=False):
        embedding = x.mean((2, 3))
        return Outputs(self.fc(embedding), embedding + 1, features=(x,))

register("mine", Net)
"""


def test_a_network_whose_outputs_disagree(tmp_path):
    (tmp_path / "net.py").write_text(WRONG_NETWORK)
    called = cli.call("check", str(tmp_path / "net.py"), "--pair", "resnet8 -> mine")
    assert called.code == 1
    assert "mine: classifier(embedding) is not logits" in called.out
    assert "mine: preact_norms has 2 entries for 1 features" in called.out


def test_a_good_method_passes_every_check():
    plugin = MISTAKES.parents[1] / "my_method.py"
    pair = ["--pair", "resnet14 -> resnet8"]
    called = cli.call("check", str(plugin), *pair, "--image-size", "16")
    assert (called.code, called.err) == (0, "")
    assert called.out.count("  ok  ") == 5
    assert called.out.endswith("all well\n")


def test_a_missing_file_is_not_called_an_unknown_method(tmp_path):
    (tmp_path / "my_method.py").touch()
    said = cli.call("check", str(tmp_path / "my_metod.py"))
    meant = f"{tmp_path / 'my_metod.py'}: no such file; did you mean {tmp_path / 'my_method.py'}?"
    assert (said.code, said.err) == (2, f"error: {meant}\n")
    assert "unknown method 'kdd': did you mean kd" in cli.call("check", "kdd").err
