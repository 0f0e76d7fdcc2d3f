"""What `status`, `logs` and `cancel` remember of a matrix: the same runs, without PyTorch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import datasets
import datasets.contents
import distillers
import distillers.contents
import distillers.registry
import models
import models.contents
from distillers import plugins
from experiments.environment import CHECKOUT
from experiments.matrix import schema
from experiments.matrix.expand import expand
from experiments.matrix.expansion import Facts
from experiments.memo import Memo, versions
from experiments.plan import plan as planning
from experiments.plan import stored_expansion
from experiments.plan.plan import Plan, prepare
from experiments.plan.stored_expansion import KIND, decoded, encoded
from experiments.plan.workspace import Workspace
from tests.experiments import cli

pytestmark = pytest.mark.usefixtures("own_registry")
GOOD = Path(__file__).resolve().parents[1] / "my_method.py"
MATRICES = sorted(CHECKOUT.glob("experiments/*.yaml")) + sorted(
    CHECKOUT.glob("experiments/papers/*.yaml")
)
HEAVY = {"torch", "torchvision", "numpy", "pandas", "scipy", "sklearn", "matplotlib", "submitit"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    shutil.copy(GOOD, tmp_path)
    cli.write(tmp_path, plugins=["my_method.py"], methods=["vanilla", "kd", "crd+kd", "my_method"])
    return tmp_path


def looked_at(place: Path) -> Plan:
    where = Workspace(place / "runs", place / "data", "cpu")
    return prepare(str(place / "matrix.yaml"), where, strict=False, looks=True)


def entries(place: Path) -> list[Path]:
    return list((place / "data" / ".cache").glob(f"{KIND}-*"))


@pytest.mark.parametrize("path", MATRICES, ids=lambda path: path.stem)
def test_every_matrix_comes_back_as_it_is(path: Path) -> None:
    matrix = schema.load(path)
    fresh = expand(matrix, Facts(dict.fromkeys(matrix.teachers, "0" * 64)), path.name)
    again = decoded(json.loads(json.dumps(encoded(fresh))))
    assert again == fresh
    for now, then in zip(again.runs, fresh.runs, strict=True):
        assert (now.id, now.as_yaml()) == (then.id, then.as_yaml())
        assert repr(now) == repr(then)  # tuples are no lists, 1 is not 1.0
    sample = again.runs[-1].model_copy(update={"trial": 999})
    assert sample.id != again.runs[-1].id and len(sample.id) == 10  # made anew


def test_the_packages_offer_what_their_contents_have() -> None:
    for package in (datasets, distillers, models):
        assert package.__all__ == package.contents.__all__
        assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = models.no_such_name


def test_versions_are_those_of_the_metadata() -> None:
    from importlib import metadata

    assert versions(("torch", "pydantic", "no_such")) == {
        "torch": metadata.version("torch"),
        "pydantic": metadata.version("pydantic"),
        "no_such": None,
    }


# ---- when it is used, and when not ---------------------------------------------------------------


def test_the_second_look_resolves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = looked_at(place)
    monkeypatch.setattr(planning, "_resolved", lambda *_: pytest.fail("resolved again"))
    assert looked_at(place).expansion == first.expansion
    assert looked_at(place).statuses().keys() == first.statuses().keys()


def edit_matrix(place: Path) -> None:
    content = yaml.safe_load((place / "matrix.yaml").read_text())
    (place / "matrix.yaml").write_text(yaml.safe_dump({**content, "trials": 3}))


def edit_plugin(place: Path) -> None:
    text = (place / "my_method.py").read_text()
    (place / "my_method.py").write_text(text.replace("return 1 - ", "return 2 - "))
    forget()


def forget() -> None:
    """As in a new process: no plugin has been imported."""
    distillers.registry.REGISTRY._entries.pop("my_method", None)
    plugins.LOADED.clear()
    for name in [name for name in sys.modules if name.startswith("kd_plugin_")]:
        del sys.modules[name]


def damage(place: Path) -> None:
    (path,) = entries(place)
    path.write_text(path.read_text()[:-100])


def forge(place: Path) -> None:
    """An id is changed, and everything else as it was."""
    (path,) = entries(place)
    run = looked_at(place).expansion.runs[0].id
    path.write_text(path.read_text().replace(run, "0123456789"))


def empty(place: Path) -> None:
    (path,) = entries(place)
    path.write_text(json.dumps({**json.loads(path.read_text()), "value": {}}))


def link_to_itself(place: Path) -> None:
    (path,) = entries(place)
    path.unlink()
    path.symlink_to(path.name)


def pipe(place: Path) -> None:
    (path,) = entries(place)
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "change", [edit_matrix, edit_plugin, damage, forge, empty, link_to_itself, pipe]
)
def test_after_a_change_all_is_resolved(place: Path, change: Callable[[Path], None]) -> None:
    looked_at(place)
    change(place)
    where = Workspace(place / "runs", place / "data", "cpu")
    today = prepare(str(place / "matrix.yaml"), where, strict=False).expansion
    assert looked_at(place).expansion == today
    assert looked_at(place).expansion == today
    assert len(entries(place)) == 1  # the last one only


@pytest.mark.parametrize("module", ["experiments.plan.stored_expansion"])
def test_other_code_or_packages(place: Path, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at(place)
    asked = []
    resolved = planning._resolved
    monkeypatch.setattr(planning, "_resolved", lambda *a, **k: asked.append(1) or resolved(*a, **k))
    monkeypatch.setattr(f"{module}.code_stamp", lambda *_: "of another day")
    looked_at(place)
    monkeypatch.setattr(f"{module}.versions", lambda *_: {"torch": "0.4"})
    looked_at(place)
    looked_at(place)
    assert len(asked) == 2


def test_a_given_teacher_and_own_data_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    weights = tmp_path / "data" / "t.pth"
    weights.write_bytes(b"one")
    cli.write(tmp_path, teachers={"resnet14": {"file": "t.pth"}}, methods=["kd"])
    first = looked_at(tmp_path).expansion
    assert looked_at(tmp_path).expansion == first
    weights.write_bytes(b"other")
    assert looked_at(tmp_path).expansion != first


def test_a_link_planted_in_its_place_is_replaced_not_followed(place: Path, tmp_path: Path) -> None:
    looked_at(place)
    (path,) = entries(place)
    precious = tmp_path / "precious"
    precious.write_text("mine")
    path.unlink()
    path.symlink_to(precious)
    looked_at(place)
    assert precious.read_text() == "mine" and not path.is_symlink()


def test_a_broken_plugin_is_never_remembered(place: Path) -> None:
    (place / "my_method.py").write_text("import no_such_package\n")
    assert looked_at(place).left_out.runs == 2
    assert not entries(place)


def test_the_largest_are_not_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_expansion, "MOST", 3)
    looked_at(place)
    assert not entries(place)


def test_runs_of_earlier_code_are_found_without_the_code_imported(place: Path) -> None:
    """`reconcile` compares stored runs of a plugin with today's, and needs its methods for that."""
    before = looked_at(place).expansion.runs[-1]
    directory = before.directory(place / "runs")
    directory.mkdir(parents=True)
    (directory / "spec.yaml").write_text(before.as_yaml())
    (directory / "result.json").write_text("{}")
    edit_plugin(place)
    looked_at(place)
    forget()
    assert cli.command("status", place / "matrix.yaml").out.count("my_method.py changed") == 1


def test_where_nothing_can_be_kept_all_works(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memo, "_folders", lambda self: [Path("/proc/no")])
    assert looked_at(place).expansion == looked_at(place).expansion


# ---- processes -----------------------------------------------------------------------------------

PROBE = """
import sys
import benchmark
code = benchmark.main(sys.argv[1:])
print("heavy:", *sorted({name.partition(".")[0] for name in sys.modules} & %r), file=sys.stderr)
raise SystemExit(code)
"""


def in_a_process(place: Path, *arguments: str) -> tuple[str, str]:
    """What a command prints in a process of its own, and the heavy packages it imported."""
    where = ["--runs", str(place / "runs"), "--data", str(place / "data")]
    where = where[:2] if arguments[0] == "logs" else where
    tools = place / "bin"
    tools.mkdir(exist_ok=True)
    for name in ("squeue", "sacct", "sbatch", "scancel", "scontrol", "sacctmgr"):
        (tools / name).write_text("#!/bin/sh\nexit 0\n")
        (tools / name).chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", PROBE % HEAVY, *arguments, *where],
        cwd=CHECKOUT,
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said, _, heavy = done.stderr.rpartition("heavy:")
    notes = [line for line in said.splitlines() if not line.endswith("…")]  # a slow machine's
    return "\n".join([done.stdout, *notes]), heavy.strip()


def test_looking_imports_no_pytorch(finished: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    shutil.copytree(finished, place)
    chain, ensemble = "resnet14 -> resnet8 -> resnet8", "[resnet14, resnet8] -> resnet8"
    cli.write(place, pairs=["resnet14 -> resnet8", chain, ensemble])
    (place / "data").mkdir(exist_ok=True)
    run = next(iter(looked_at(place).expansion.runs))
    shutil.rmtree(run.directory(place / "runs"))  # one is to do
    matrix = str(place / "matrix.yaml")
    shutil.rmtree(place / "data" / ".cache", ignore_errors=True)
    cold, heavy = in_a_process(place, "status", matrix)
    assert "torch" in heavy
    assert in_a_process(place, "status", matrix) == (cold, "")
    assert in_a_process(place, "cancel", matrix) == ("none of these runs is in the queue\n", "")
    other = next(iter(looked_at(place).expansion.entries)).spec
    said, heavy = in_a_process(place, "logs", other.id)
    assert "done" in said and heavy == ""
