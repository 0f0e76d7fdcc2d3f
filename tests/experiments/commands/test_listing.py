"""`list`: names, descriptions, and costs row by row."""

from __future__ import annotations

import re

import pytest

import datasets
import distillers
from benchmark import main
from distillers import search
from experiments.train import method_costs
from tests.experiments import cli

PAIR = ["--pair", "resnet14 -> resnet8"]


def listed(*arguments: str) -> str:
    said = cli.call("list", *arguments)
    assert (said.code, said.err) == (0, "")
    return said.out


def row(text: str, first: str) -> list[str]:
    """The cells of a table's line; the table stands below any description."""
    lines = re.findall(rf"^{re.escape(first)}  .*$", text, re.MULTILINE)
    return re.split(r"  +", lines[-1].rstrip())


def test_names():
    assert listed("datasets").split() == datasets.names()
    assert "resnet8x4\n" in listed("models")


def test_a_method():
    text = listed("methods", "dkd")
    assert text.startswith("dkd: DKD. Zhao")
    assert "\nreads      logits\n" in text
    assert row(text, "kd_temperature") == ["kd_temperature", "4.0", "number above 0"]
    assert "preset imagenet: " in text
    needs = listed("methods", "mlkd")
    assert "\nviews      strong\n" in needs
    assert row(needs, "mode") == ["mode", "released", "one of released, paper"]


@pytest.mark.parametrize("name", distillers.names())
def test_defaults_expected_values_and_the_search_space_of_every_option(name):
    text, space = listed("methods", name), search.space_of(name)
    for option in distillers.defaults(name):
        shown = [str(space[option])] if option in space else []
        assert row(text, option)[3:] == shown
        assert len(row(text, option)) == 3 + len(shown)


def test_what_may_be_null_says_so():
    name, option = next(
        (name, option) for name in distillers.names() for option in distillers.find(name).optional
    )
    assert row(listed("methods", name), option)[2].endswith(" or null")


def test_a_data_set():
    text = listed("datasets", "cifar100")
    for line in ("classes    100", "images     32×32", "training   50,000", "test       10,000"):
        assert f"\n{line}\n" in text
    own = listed("datasets", "arrays")
    assert row(own, "file") == ["file", "null", "its content"]
    assert row(own, "label") == ["label", "null", "no"]
    assert row(own, "flip") == ["flip", "true", "yes"]


@pytest.mark.parametrize("name", ["digits", "cifar10", "cifar100"])
def test_facts_are_the_datas(name):
    try:
        data = datasets.build(name)
    except datasets.DataError as error:
        pytest.skip(str(error))
    facts, info = datasets.facts(name), data.info
    assert (facts.classes, facts.image_size) == (info.num_classes, info.image_size)
    assert (facts.train, facts.test) == (info.train_size, data.sizes["test"])


def test_a_model():
    text = listed("models", "resnet8x4")
    assert "parameters  1,233,540 with 100 classes\n" in text
    assert row(text, "3") == ["3", "256×8×8"]


def test_several_at_once_and_unknown_ones():
    assert listed("datasets", "digits", "fake").count("option") >= 2
    said = cli.call("list", "models", "resnet8x5")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "did you mean resnet8x4" in said.err
    assert cli.call("list", "models", "resnet8", *PAIR).code == 2


def test_costs_of_some_methods(monkeypatch):
    monkeypatch.setattr(method_costs, "BATCH", 16)
    text = listed("methods", "kd", "fitnet", "vitkd", *PAIR)
    first = text.splitlines()[0]
    assert first.startswith("measuring 3 methods on resnet14 -> resnet8: ")
    assert re.search(r"about \d+ seconds?$", first)
    assert 0.2 < float(row(text, "kd")[-1]) < 5
    assert float(row(text, "fitnet")[-2].replace(",", "")) > 0  # its connectors
    assert row(text, "vitkd")[-2:] == ["n/a", "vitkd needs tokens, which resnet8 lacks"]


def test_rows_are_printed_as_they_are_measured(monkeypatch, capsys):
    seen = []

    def cost(self: object, name: str) -> tuple[str, str]:
        seen.append(capsys.readouterr().out)
        return "0", "1.00"

    monkeypatch.setattr(method_costs.Bench, "__init__", lambda self, pair: None)
    monkeypatch.setattr(method_costs.Bench, "estimate", lambda self, methods: 90.0)
    monkeypatch.setattr(method_costs.Bench, "cost", cost)
    assert main(["list", "methods", "kd", "dkd", *PAIR]) == 0
    before_kd, before_dkd = seen
    assert "measuring 2 methods" in before_kd and "about 90 seconds" in before_kd
    assert before_dkd.startswith("kd ")


def test_a_ratio_is_taken_in_turns(monkeypatch):
    order: list[str] = []
    clock = iter(range(1000))
    monkeypatch.setattr(method_costs.time, "perf_counter", lambda: next(clock) / 1000)
    ratio = method_costs._ratio(lambda: order.append("m"), lambda: order.append("kd"))
    assert order == ["m", *["m", "kd"] * method_costs.REPEATS]
    assert ratio == 1.0


def test_a_slow_method_is_not_repeated(monkeypatch):
    order: list[str] = []
    clock = iter(range(1000))
    monkeypatch.setattr(method_costs.time, "perf_counter", lambda: next(clock) * 5.0)
    method_costs._ratio(lambda: order.append("m"), lambda: order.append("kd"))
    assert order == ["m", "m", "kd"]
