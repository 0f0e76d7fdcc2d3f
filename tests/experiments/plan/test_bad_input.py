"""Wrong matrices: one line that names file, key, value and expectation; nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.experiments import cli

pytestmark = pytest.mark.usefixtures("no_training")

GOOD = "dataset: {name: fake}\npairs: [resnet14 -> resnet8]\nmethods: [kd]\n"


def kd(**fields: object) -> list[object]:
    return ["vanilla", {"name": "kd", **fields}]


def refused(folder: Path, *more: str) -> str:
    """Run FOLDER/matrix.yaml; checks the manners of the refusal and returns its text."""
    before = cli.listing(folder)
    called = cli.command("run", folder / "matrix.yaml", *more)
    assert called.code == 2, called
    assert called.err.count("\n") == 1, called.err
    assert called.err.startswith("error: ")
    assert "Traceback" not in called.err + called.out
    assert called.out == ""
    assert cli.listing(folder) == before
    return called.err


def test_the_matrix_itself_is_good(tmp_path):
    cli.write(tmp_path)
    called = cli.command("plan", tmp_path / "matrix.yaml", "--no-timing")
    assert (called.code, called.err) == (0, "")
    assert "7 runs: 7 to do" in called.out
    assert [path.name for path in tmp_path.iterdir()] == ["matrix.yaml"]


NAMES = [
    ({"methods": ["vanilla", "fitnit"]}, "methods.1: unknown method 'fitnit'", "fitnet"),
    ({"methods": ["fitnit+kd"]}, "methods.0: unknown method 'fitnit'", "fitnet"),
    ({"methods": ["kd+kd"]}, "methods.0: method 'kd+kd'", "NAME+kd"),
    ({"pairs": ["resnet14x -> resnet8"]}, "pairs.0.teacher: unknown model", "resnet14"),
    (
        {"pairs": ["resnet14 -> resnet8", "resnet14 -> ShufleV1"]},
        "pairs.1.student: unknown model 'ShufleV1'",
        "ShuffleV1",
    ),
    ({"dataset": "cifar1000"}, "dataset: unknown data set 'cifar1000'", "cifar100"),
    ({"methods": kd(preset="imagnet")}, "methods.1: method 'kd': unknown preset", "imagenet"),
    (
        {"methods": kd(options={"kd_temprature": 2})},
        "methods.1: method 'kd': unknown option 'kd_temprature'",
        "kd_temperature",
    ),
    (
        {"methods": kd(pairs={"resnet14 -> resnet8": {"wieght": 2}})},
        "methods.1.pairs.resnet14 -> resnet8: method 'kd': unknown option 'wieght'",
        "weight",
    ),
    (
        {"methods": kd(pairs={"resnet14 -> resnet20": {"weight": 2}})},
        "methods.1.pairs: 'kd' has options for the pair 'resnet14 -> resnet20'",
        "resnet14 -> resnet8",
    ),
    ({"recipe__lr_exceptions": {"resnet8x": 1}}, "lr_exceptions: unknown model", "resnet8"),
    ({"teachers": {"resnet15": {"file": "t"}}}, "teachers: 'resnet15'", "resnet14"),
]


@pytest.mark.parametrize(("changes", "problem", "meant"), NAMES, ids=[n[1] for n in NAMES])
def test_unknown_names(tmp_path, changes, problem, meant):
    path = cli.write(tmp_path, **changes)
    text = refused(tmp_path)
    assert f"{path}: " in text
    assert problem in text
    assert meant in text.partition(problem)[2]


KEYS = [
    ({"trails": 3}, "trails", "trials"),
    ({"dataset__trian_size": 3}, "dataset.trian_size", "train_size"),
    ({"dataset__subsett": 3}, "dataset.subsett", "subset"),
    ({"recipe__epoch": 3}, "recipe.epoch", "epochs"),
    ({"teacher_recipe": {"epoch": 3}}, "teacher_recipe.epoch", "epochs"),
    ({"pairs": [{"teacher": "resnet14", "studnet": "resnet8"}]}, "pairs.0.studnet", "student"),
    ({"methods": kd(option={})}, "methods.1.option", "options"),
    ({"teachers": {"resnet14": {"fiel": "t.pt"}}}, "teachers.resnet14.fiel", "file"),
]


@pytest.mark.parametrize(("changes", "key", "meant"), KEYS, ids=[k[1] for k in KEYS])
def test_unknown_keys(tmp_path, changes, key, meant):
    path = cli.write(tmp_path, **changes)
    text = refused(tmp_path)
    assert text.startswith(f"error: {path}: {key}: unknown key: did you mean ")
    assert meant in text.partition("did you mean ")[2]


def test_a_misspelt_section_is_named_rather_than_the_missing_one(tmp_path):
    (tmp_path / "matrix.yaml").write_text(GOOD.replace("methods", "method"))
    assert "method: unknown key: did you mean methods?" in refused(tmp_path)


VALUES = [
    ({"recipe__epochs": "many"}, "recipe.epochs: expected a whole number, got 'many'"),
    ({"recipe__epochs": True}, "recipe.epochs: expected a whole number, got True"),
    ({"recipe__epochs": 0}, "recipe.epochs: expected at least 1, got 0"),
    ({"recipe__lr": -0.5}, "recipe.lr: expected more than 0.0, got -0.5"),
    ({"recipe__lr": float("nan")}, "recipe.lr: expected a finite number, got nan"),
    ({"recipe__lr": [0.1]}, "recipe.lr: expected a number, got [0.1]"),
    ({"recipe__momentum": 1}, "recipe.momentum: expected less than 1.0, got 1"),
    ({"recipe__nesterov": "yes!"}, "recipe.nesterov: expected true or false, got 'yes!'"),
    (
        {"recipe__precision": "fp8"},
        "recipe.precision: expected 'fp32', 'bf16', 'fp16' or 'fp64', got",
    ),
    ({"recipe__milestones": 5}, "recipe.milestones: expected a list, got 5"),
    ({"recipe__schedule": "step"}, "recipe: milestones [150, 180, 210] lie at or past the last"),
    ({"recipe": 5}, "recipe: expected a mapping, got 5"),
    ({"recipe__lr_exceptions": {"resnet8": 0}}, "lr_exceptions: resnet8: expected more than 0"),
    ({"teacher_recipe": {"lr": "high"}}, "teacher_recipe.lr: expected a number, got 'high'"),
    ({"teacher_recipe": {"schedule": "step"}}, "teacher_recipe: milestones [150, 180, 210] lie"),
    ({"trials": 0}, "trials: expected at least 1, got 0"),
    ({"trials": "three"}, "trials: expected a whole number, got 'three'"),
    ({"teacher_trials": "pair"}, "teacher_trials: expected 'shared' or 'paired', got 'pair'"),
    ({"methods": kd(options={"weight": "big"})}, "option weight = 'big': expected float"),
    ({"methods": kd(options={"ce": float("inf")})}, "option ce = inf: expected a finite number"),
    ({"methods": kd(options=3)}, "methods.1.options: expected a mapping, got 3"),
    ({"methods": [{"label": "x"}]}, "methods.0.name: missing"),
    ({"methods": [5]}, "methods.0: expected a method's name, or a mapping with one, got 5"),
    ({"methods": []}, "methods: expected at least one, got []"),
    ({"methods": "kd"}, "methods: expected a list, got 'kd'"),
    ({"methods": None}, "methods: expected a list, got nothing"),
    ({"methods": ["kd", "kd"]}, "methods: the label 'KD' is used 2 times"),
    ({"methods": ["at", {"name": "kd", "label": "AT"}]}, "methods: the label 'AT' is used 2"),
    ({"methods": [{"name": "kd", "label": "teacher"}]}, "'teacher' is that of the teachers' row"),
    ({"methods": [{"name": "kd", "label": "\t "}]}, "is that of nothing: expected another one"),
    ({"pairs": []}, "pairs: expected at least one, got []"),
    ({"pairs": "a -> b"}, "pairs: expected a list, got 'a -> b'"),
    ({"pairs": ["resnet14"]}, "pairs.0: expected \"TEACHER -> STUDENT\", got 'resnet14'"),
    ({"pairs": [3]}, 'pairs.0: expected "TEACHER -> STUDENT", got 3'),
    (
        {"pairs": ["resnet14 -> resnet8", "resnet14->resnet8"]},
        "pairs: pair 'resnet14 -> resnet8' is given 2 times",
    ),
    (
        {"methods": kd(pairs={"resnet14 -> resnet8": {}, "resnet14->resnet8": {}})},
        "methods.1.pairs: a pair is given twice",
    ),
    ({"dataset": {"nmae": "fake"}}, "dataset.name: missing: is 'nmae' a misspelling of it?"),
    ({"dataset": 5}, "dataset: expected a mapping, got 5"),
    ({"dataset__train_size": "all"}, "dataset: fake: option train_size = 'all': expected int"),
    ({"dataset__num_classes": 1}, "dataset: fake: option num_classes = 1: expected at least 2"),
    ({"dataset__subset": 65}, "dataset: fake: subset = 65: the training part has 64"),
    ({"dataset__subset": 0}, "dataset.subset: expected at least 1, got 0"),
    ({"dataset__validation": 1.5}, "dataset: fake: validation = 1.5: expected a number of images"),
    ({"dataset__validation": "half"}, "dataset.validation: expected a whole number, got 'half'"),
    ({"teachers": {"resnet14": "t.pt"}}, "teachers.resnet14: expected a mapping, got 't.pt'"),
    (
        {"teachers": {"resnet14": {"file": "t.pt", "expected_accuracy": 101}}},
        "teachers.resnet14.expected_accuracy: expected at most 100.0, got 101",
    ),
    (
        {"teachers": {"resnet14": {"file": "t.pt"}}, "teacher_trials": "paired"},
        "teacher_trials: paired needs teachers trained here",
    ),
]


@pytest.mark.parametrize(("changes", "message"), VALUES, ids=[v[1] for v in VALUES])
def test_wrong_values(tmp_path, changes, message):
    path = cli.write(tmp_path, **changes)
    text = refused(tmp_path)
    assert f"error: {path}: " in text
    assert message in text


TEXTS = {
    "empty": ("", "expected a mapping with dataset, pairs and methods"),
    "comment": ("# later\n", "expected a mapping with dataset, pairs and methods"),
    "list": ("- kd\n", "expected a mapping with dataset, pairs and methods"),
    "text": ("digits\n", "expected a mapping with dataset, pairs and methods"),
    "nothing": ("{}", "expected a mapping with dataset, pairs and methods"),
    "missing": ("dataset: fake\nmethods: [kd]\n", "pairs: missing"),
    "open bracket": (GOOD + "plugins: [", "invalid YAML: while parsing"),
    "tab": ("dataset:\n\tname: fake\n", "invalid YAML: while scanning"),
    "twice": (GOOD + "methods: [at]\n", "key 'methods' is given twice, in lines 3 and 4"),
    "twice below": (
        GOOD.replace("{name: fake}", "{seed: 1, name: fake, seed: 2}"),
        "key 'seed' is given twice, in lines 1 and 1",
    ),
    "object": (GOOD + "trials: !!python/object/apply:os.getcwd []\n", "invalid YAML"),
    "date": (GOOD + "trials: 2024-99-99\n", "'2024-99-99' would be a date: put it in quotes"),
    "zero byte": ("a\x00b", "invalid YAML"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_wrong_texts(tmp_path, case):
    content, message = TEXTS[case]
    path = tmp_path / "matrix.yaml"
    path.write_text(content)
    text = refused(tmp_path)
    assert text.startswith(f"error: {path}: ")
    assert message in text


def test_not_a_text(tmp_path):
    path = tmp_path / "matrix.yaml"
    path.write_bytes(b"\xff\xfe\x81")
    assert f"{path}: cannot be read: not a text file" in refused(tmp_path)


@pytest.mark.parametrize(
    ("others", "meant"),
    [(["matrx.yaml", "digits.yaml"], "matrx.yaml"), (["matrix.yml"], "matrix.yml")],
)
def test_missing_matrix_names_a_similar_one(tmp_path, others, meant):
    for name in others:
        (tmp_path / name).write_text(GOOD)
    text = refused(tmp_path)
    assert f"{tmp_path / 'matrix.yaml'}: cannot be read: no such file; did you mean" in text
    assert f"did you mean {tmp_path / meant}?" in text


def test_missing_matrix_far_from_everything(tmp_path):
    assert refused(tmp_path).endswith("matrix.yaml: cannot be read: no such file\n")


def test_a_folder_is_no_matrix(tmp_path):
    (tmp_path / "matrix.yaml").mkdir()
    assert "matrix.yaml: cannot be read: Is a directory" in refused(tmp_path)


FILTERS = [
    (["--methods", "fitnett"], "--methods: no match for 'fitnett': did you mean fitnet"),
    (["--methods", "kd", "rkd"], "--methods: no match for 'rkd'"),
    (["--pairs", "resnet14 -> vgg8"], "--pairs: no match for 'resnet14->vgg8'"),
    (["--trials", "2"], "--trials: no match for '2': known: 0, 1"),
    (["--trials", "two"], "argument --trials: invalid int value: 'two'"),
    (["--method", "kd"], "unrecognized arguments: --method kd: did you mean --methods?"),
    (["--device", "gpu"], "argument --device: invalid choice: 'gpu' (choose from"),
    (["--workers", "0"], "argument --workers: '0': expected a whole number from 1"),
    (["--cohort-size", "-1"], "argument --cohort-size: "),
]


@pytest.mark.parametrize(("arguments", "message"), FILTERS, ids=[f[1] for f in FILTERS])
def test_wrong_arguments(tmp_path, arguments, message):
    cli.write(tmp_path)
    assert message in refused(tmp_path, *arguments)


def test_debug_shows_where_it_came_from(tmp_path):
    path = cli.write(tmp_path, trials=0)
    with pytest.raises(ValueError, match="trials"):
        cli.command("plan", path, "--debug")


def test_yaml_as_people_mean_it(tmp_path):
    """Fractions without a dot, and merged mappings."""
    text = GOOD.replace("[kd]", "[{name: kd, options: &o {ce: 1e-1}}, {name: at, options: *o}]")
    text += "recipe: {<<: {epochs: 3, schedule: cosine}, epochs: 2, weight_decay: 5e-4}\n"
    (tmp_path / "matrix.yaml").write_text(text)
    called = cli.command("plan", tmp_path / "matrix.yaml", "--no-timing")
    assert (called.code, called.err) == (0, "")


# ---- several problems ----------------------------------------------------------------------------


def problems(folder: Path, **changes: object) -> list[str]:
    """What is said of a matrix with several problems, without "error: FILE: "."""
    path = cli.write(folder, **changes)
    called = cli.command("plan", path)
    assert (called.code, called.out) == (2, "")
    *lines, last = called.err.splitlines()
    begin = f"error: {path}: "
    assert all(line.startswith(begin) for line in lines)
    return [line.removeprefix(begin) for line in (*lines, last)]


def test_several_wrong_keys_and_values(tmp_path):
    said = problems(tmp_path, recipe__epohcs=3, recipe__lr="fast", trials=0, extra=1)
    unknown = [line.partition(" unknown key: ")[0] for line in said[:2]]
    assert unknown == ["recipe.epohcs:", "extra:"]  # first, in whatever order the schema has
    assert "did you mean epochs" in said[0]
    assert said[2:] == [
        "recipe.lr: expected a number, got 'fast'",
        "trials: expected at least 1, got 0",
    ]


def test_several_unknown_names_and_options(tmp_path):
    said = problems(
        tmp_path,
        dataset={"name": "fake", "num_clases": 4, "image_siez": 16},
        pairs=["resnet14 -> resnet8", "resnet14x -> resnett8"],
        methods=["fitnit", {"name": "kd", "options": {"kd_temprature": 2, "ce": "x"}}, "dkdd"],
    )
    assert [line.split(":")[0] for line in said] == [
        "dataset.num_clases",
        "dataset.image_siez",
        "pairs.1.teacher",
        "pairs.1.student",
        "methods.0",
        "methods.1",
        "methods.1",
        "methods.2",
    ]
    assert "did you mean kd_temperature?" in said[5]


def test_patterns_of_pairs_that_match_nothing(tmp_path):
    pairs = {"vgg13 -> *": {"weight": 2.0}, "resnet14 -> resnet9": {}, "resnet* -> *": {}}
    said = problems(tmp_path, methods=[{"name": "fitnet", "pairs": pairs}])
    assert len(said) == 2
    assert "'vgg13 -> *', which the matrix lacks: known: resnet14 -> resnet8" in said[0]
    assert said[1].endswith("did you mean resnet14 -> resnet8?")


def test_no_more_than_ten(tmp_path):
    said = problems(tmp_path, methods=[f"nothing{i}" for i in range(14)])
    assert len(said) == 11
    assert said[-1] == "error: … and 4 more problems"
