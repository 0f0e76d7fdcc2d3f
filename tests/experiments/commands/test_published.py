"""`table --published`, a matrix's key `published`, `list published`, and the papers' matrices."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from experiments.commands.published import model_name, other_parts
from experiments.environment import CHECKOUT
from experiments.matrix import schema
from experiments.matrix.expand import expand
from experiments.matrix.expansion import Facts
from results import published_rows
from results.published_rows import TEACHER
from tests.experiments import cli

FILES = sorted((CHECKOUT / "experiments/papers").glob("*.yaml"))
PAPERS = {
    "crd": "tian2020crd",
    "dist": "huang2022dist",
    "dkd": "zhao2022dkd",
    "lskd": "sun2024lskd",
    "wttm": "zheng2024wttm",
}
BOARD = str(CHECKOUT / "results/boards/cifar100-cpu.jsonl")


def matrix(folder: Path, **changes: object) -> Path:
    """A matrix on CIFAR-100 of which nothing has run."""
    content = {
        "dataset": "cifar100",
        "pairs": ["resnet56 -> resnet20", "vgg13 -> MobileNetV2"],
        "methods": ["vanilla", "kd", "dkd", "irg"],
        "recipe": {"lr_exceptions": {"MobileNetV2": 0.01}},
    }
    path = folder / "matrix.yaml"
    path.write_text(yaml.safe_dump({**content, **changes}))
    return path


# ---- table ---------------------------------------------------------------------------------------


def test_a_table_has_the_sources_that_were_asked_for(tmp_path):
    out = cli.command("table", matrix(tmp_path), "--published", "tian2020crd", "zhao2022dkd").out
    crd, dkd = out.split("### Published, beside ours: ")[1:]
    assert crd.startswith("tian2020crd\n") and dkd.startswith("zhao2022dkd\n")
    assert "| vgg13 → MobileNetV2, KD " in crd and "67.37" in crd
    assert "| vgg13 → MobileNetV2, DKD " in dkd and "cannot be joined: ours is not trained" in dkd
    assert "no such row of theirs: DKD (2 cells), IRG (2 cells)" in crd


def test_the_matrix_may_name_its_sources(tmp_path):
    path = matrix(tmp_path, published=["zhao2022dkd"])
    content = json.loads(cli.command("table", path, "--format", "json").out)
    assert [entry["source"] for entry in content["published"]] == ["zhao2022dkd"]
    flag = cli.command("table", path, "--published", "tian2020crd", "--format", "json").out
    assert [entry["source"] for entry in json.loads(flag)["published"]] == ["tian2020crd"]


def test_the_key_is_no_part_of_any_run(tmp_path):
    plain = schema.load(matrix(tmp_path))
    named = schema.load(matrix(tmp_path, published="zhao2022dkd"))
    assert named.published == ("zhao2022dkd",)
    assert expand(plain, Facts()) == expand(named, Facts())


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["zhao2022"], "published: unknown source 'zhao2022': did you mean zhao2022dkd"),
        (["zhao2022dkd", "zhao2022dkd"], "published: source 'zhao2022dkd' is given 2 times"),
    ],
)
def test_wrong_sources_in_a_matrix(tmp_path, sources, message):
    called = cli.command("table", matrix(tmp_path, published=sources))
    assert called.code == 2 and called.err.count("\n") == 1
    assert f"matrix.yaml: {message}" in called.err


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("tian2020", "--published: unknown source 'tian2020': did you mean tian2020crd"),
        ("zhou2021wsld", "--published zhou2021wsld: nothing on cifar100: it has imagenet"),
    ],
)
def test_wrong_sources_on_the_command_line(tmp_path, source, message):
    called = cli.command("table", matrix(tmp_path), "--published", source)
    assert called.code == 2 and message in called.err and called.err.count("\n") == 1


def test_a_pair_that_no_source_has(tmp_path):
    places = ("--runs", BOARD, "--data", str(tmp_path), "--published", "tian2020crd")
    path = str(CHECKOUT / "experiments/cifar100-cpu.yaml")
    called = cli.call("table", path, *places)
    assert called.code == 0
    assert "Cannot be joined: no pair and method that both have." in called.out
    assert "no such row of theirs: Student alone (1 cell), KD (1 cell)" in called.out


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        ({"name": "cifar100", "subset": 10000}, "subset of the training data (ours 10,000 images)"),
        ({"name": "cifar100", "validation": 5000}, "(ours without 5000 held out)"),
        ({"name": "cifar100", "image_size": 16}, "other data (image_size 16, usually 32)"),
        ("cifar100", ""),
    ],
)
def test_other_data_are_named(tmp_path, dataset, reason):
    found = list(other_parts(schema.load(matrix(tmp_path, dataset=dataset)).dataset))
    assert [reason in text for text in found] == [True] * bool(reason)


@pytest.mark.parametrize(
    ("published", "dataset", "ours"),
    [
        ("shuffle_v1", "cifar100", "ShuffleV1"),
        ("resnet50", "cifar100", "ResNet50"),
        ("resnet50", "imagenet", "torchvision/resnet50"),
        ("irg_resnet20", "cifar100", None),
        ("mobilenet_v2_s1", "cifar100", None),
        ("mobilenet_v2", "tinyimagenet", None),
        ("peer", "cifar100", None),
    ],
)
def test_networks_are_joined_by_the_aliases(published, dataset, ours):
    assert model_name(published, dataset) == ours


# ---- list ----------------------------------------------------------------------------------------


def test_list_published():
    lines = cli.call("list", "published").out.splitlines()
    assert len(lines) == 2 + 37
    row = next(line for line in lines if line.startswith("zhao2022dkd "))
    assert re.split("  +", row)[1:5] == ["26", "15", "best", "3/5"]
    assert "Decoupled Knowledge Distillation (CVPR 2022, arXiv 2203.08679)" in row


def test_list_one_source():
    out = cli.call("list", "published", "zhao2022dkd").out
    for line in (
        "epoch      best",
        "oddity     The rows of KD are those of tian2020crd.",
        "  pair     resnet32x4 > shuffle_v1 (resnet32x4 -> ShuffleV1)",
        "  method   kd: 11 cells, 11 reprinted",
    ):
        assert f"\n{line}\n" in out
    assert "  recipe   crd: 240 epochs, batch 64, lr 0.05 (0.01 for MobileNet" in out


@pytest.mark.parametrize("key", sorted(published_rows.sources()))
def test_every_source_can_be_described(key):
    assert cli.call("list", "published", key).out.startswith(f"{key}: ")


def test_an_unknown_source_is_one_line():
    called = cli.call("list", "published", "wttm")
    assert called.code == 2 and called.err.count("\n") == 1
    assert "list published: unknown source 'wttm': did you mean zheng2024wttm" in called.err


# ---- the papers' matrices ------------------------------------------------------------------------


def test_every_matrix_is_known():
    assert [path.stem for path in FILES] == sorted(PAPERS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_papers_matrix_expands_and_names_its_source(path):
    loaded = schema.load(path)
    expanded = expand(loaded, Facts(), str(path))
    assert len(expanded.entries) == len(loaded.pairs) * len(loaded.methods) * loaded.trials
    assert loaded.published[0] == PAPERS[path.stem]
    assert loaded.recipe.epochs == 240 and not loaded.teachers


def missing(path: Path) -> Iterator[tuple[str, str]]:
    """(pair, method) by its source's names that a matrix neither has nor names as left out."""
    loaded, text = schema.load(path), path.read_text()
    source = loaded.published[0]
    ours = {(str(pair), entry.name) for pair in loaded.pairs for entry in loaded.methods}
    methods, pairs = left_out(text, "left out"), left_out(text, "left out pairs")
    for row in published_rows.rows(source, "cifar100", reprints=True):
        names = [model_name(name, row.dataset) for name in (row.teacher, row.student)]
        alias = published_rows.method_alias(source, row.method)
        is_here = (f"{names[0]} -> {names[1]}", alias.ours) in ours
        is_named = row.pair in pairs or row.method in methods
        if row.method != TEACHER and not is_here and not is_named:
            yield row.pair, row.method


def left_out(text: str, what: str) -> list[str]:
    """What a comment "# left out: NAME, NAME: reason" names."""
    found = re.findall(rf"^# {what}: ([^:\n]+): \S+", text, re.MULTILINE)
    return [name.strip() for names in found for name in names.split(",")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_papers_cells_are_all_there_or_left_out_with_a_reason(path):
    assert list(missing(path)) == []


def test_what_is_left_out_is_noticed(tmp_path):
    text = (CHECKOUT / "experiments/papers/lskd.yaml").read_text()
    path = tmp_path / "lskd.yaml"
    path.write_text(text.replace("# left out: mlkd", "# without mlkd"))
    assert {method for _, method in missing(path)} == {"mlkd", "lskd+mlkd"}
    lines = [line for line in text.splitlines() if "wrn_40_2 -> resnet8x4" not in line]
    path.write_text("\n".join(lines))
    assert {pair for pair, _ in missing(path)} == {"wrn_40_2 > resnet8x4"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_options_of_a_pair_are_those_of_the_whole_literature(path):
    """The papers' matrices and cifar100-all.yaml give a method the same options on a pair."""
    everything = schema.load(CHECKOUT / "experiments/cifar100-all.yaml")
    known = {entry.name: entry for entry in everything.methods}
    loaded = schema.load(path)
    shared = [pair for pair in loaded.pairs if pair in everything.pairs]
    for entry in loaded.methods:
        if entry.name in known:
            for pair in shared:
                assert entry.options_for(pair) == known[entry.name].options_for(pair), pair
