"""A matrix with several mistakes: each is a line of its own, all in one go."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.experiments import cli

pytestmark = pytest.mark.usefixtures("no_training")


def lines(folder: Path, text: str) -> list[str]:
    """What is wrong with a matrix, without its path; checks how it is said."""
    path = folder / "matrix.yaml"
    path.write_text(text)
    called = cli.command("plan", path)
    said = called.err.splitlines()
    assert (called.code, called.out) == (2, "")
    assert all(line.startswith((f"error: {path}: ", "error: …")) for line in said), said
    return [line.removeprefix(f"error: {path}: ") for line in said]


def test_wrong_keys_and_values_unknown_keys_first(tmp_path):
    text = """
        dataset: {name: fake, subset: 0}
        recipe: {epochs: many, batch_sise: 3, lr_exceptions: {vgg8: 0, vgg13: -1}}
        pair: [resnet14 -> resnet8]
        methods: [{name: kd, option: {kd: 1}}]
    """
    assert lines(tmp_path, text) == [
        "recipe.batch_sise: unknown key: did you mean batch_size?",
        "methods.0.option: unknown key: did you mean options?",
        "pair: unknown key: did you mean pairs?",
        "dataset.subset: expected at least 1, got 0",
        "recipe.epochs: expected a whole number, got 'many'",
        "recipe.lr_exceptions: vgg8: expected more than 0, got 0",
        "recipe.lr_exceptions: vgg13: expected more than 0, got -1",
    ]


def test_a_missing_key_is_named_beside_an_unknown_one_that_is_no_misspelling(tmp_path):
    assert lines(tmp_path, "dataset: fake\npairs: [a -> b]\nnotes: mine\n") == [
        "notes: unknown key: known: dataset, methods, pairs, plugins, predictions, processes, "
        "published, recipe, slurm, teacher_recipe, teacher_trials, teachers, transfer, trials, "
        "tune",
        "methods: missing",
    ]


def test_an_option_beside_the_options_is_told_where_it_goes(tmp_path):
    found = lines(tmp_path, "dataset: fake\npairs: [a -> b]\nmethods: [{name: dkd, beta: 2}]\n")
    assert found == [
        "methods.0.beta: unknown key: known: ablate, dataset, label, name, options, pairs, preset, "
        "recipe, search, sweep, tune; those of the method itself go into options: {beta: 2}"
    ]


def test_parts_that_do_not_fit_together(tmp_path):
    text = """
        dataset: fake
        pairs: [resnet14 -> resnet8]
        recipe: {batch_size: 4}
        processes: 3
        teacher_trials: paired
        teachers: {resnet41: {file: t.pt}, resnet20: {file: u.pt}}
        methods: [{name: kd, pairs: {vgg13 -> *: {kd: 1}}}]
        transfer: {datasets: [fake], recipe: {epochs: 0, milestones: []}}
    """
    meant = "did you mean resnet14?"
    assert lines(tmp_path, text) == [
        "methods.0.pairs: 'kd' has options for the pair 'vgg13 -> *', which the matrix lacks: "
        "known: resnet14 -> resnet8",
        "transfer.recipe.epochs: expected at least 1, got 0",
        f"teachers: 'resnet20' is no teacher of any pair: {meant}",
        f"teachers: 'resnet41' is no teacher of any pair: {meant}",
        "teacher_trials: paired needs teachers trained here, not files",
        "processes: 3 with recipe.batch_size 4: each needs at least 2 samples of a batch",
    ]


def test_unknown_names_and_wrong_options(tmp_path):
    text = """
        dataset: {name: fake, train_sise: 64}
        pairs: [resnet14x -> resnet8, resnet14 -> ShufleV1]
        methods:
          - fitnit
          - {name: kd, options: {wieght: 2, kd: many}, pairs: {"* -> ShufleV1": {kd: .inf}}}
          - {name: kd, label: KD}
    """
    found = lines(tmp_path, text)
    expected = [
        "dataset.train_sise: unknown key: did you mean train_size",
        "pairs.0.teacher: unknown model 'resnet14x': did you mean resnet14",
        "pairs.1.student: unknown model 'ShufleV1': did you mean ShuffleV1",
        "methods.0: unknown method 'fitnit': did you mean fitnet",
        "methods.1: method 'kd': unknown option 'wieght': did you mean weight",
        "methods.1: method 'kd': option kd = 'many': expected ",
        "methods.1.pairs.* -> ShufleV1: ",
        "methods: the label 'KD' is used 2 times",
    ]
    assert len(found) == len(expected), found
    for line, beginning in zip(found, expected, strict=True):
        assert line.startswith(beginning)


def test_no_more_than_ten_at_once(tmp_path):
    keys = "".join(f"strange{n}: 1\n" for n in range(14))
    found = lines(tmp_path, f"dataset: fake\npairs: [resnet14 -> resnet8]\nmethods: [kd]\n{keys}")
    assert len(found) == 11
    assert found[-1] == "error: … and 4 more problems"


def test_a_problem_is_named_once(tmp_path):
    text = "dataset: fake\npairs: [resnet14]\nmethods: [kd]\nplugins: 3\n"
    assert lines(tmp_path, text) == [
        "pairs.0: expected \"TEACHER -> STUDENT\", got 'resnet14'",
        "plugins: expected a list, got 3",
    ]
