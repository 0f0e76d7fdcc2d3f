"""SLURM's options: what can be given, where, and who wins."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from experiments.errors import InputError
from experiments.matrix import schema
from experiments.matrix.slurm_options import RESERVED, SlurmOptions, merged, minutes, parsed
from tests.experiments import cli

FIELDS = list(SlurmOptions.model_fields)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (90, 90),
        ("90", 90),
        (" 90 ", 90),
        ("10:00", 10),
        ("10:30", 11),
        ("0:01", 1),
        ("2:30:00", 150),
        ("12:00:00", 720),
        ("00:00:30", 1),
        ("1-0", 1440),
        ("1-12", 2160),
        ("1-12:30", 2190),
        ("1-12:30:01", 2191),
        ("2-00:00:00", 2880),
        ("0-1", 60),
    ],
)
def test_times_as_slurm_writes_them(given, expected):
    assert minutes(given) == expected
    assert minutes(minutes(given)) == expected


@pytest.mark.parametrize(
    "given",
    [
        "",
        "a day",
        "1d",
        "-5",
        "1:2:3:4",
        "1-2:3:4:5",
        "1.5",
        "infinite",
        1.5,
        True,
        None,
        0,
        "0:00",
    ],
    ids=str,
)
def test_what_is_no_time(given):
    with pytest.raises(ValueError, match=r"expected |must be positive"):
        minutes(given)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("partition", "gpu"),
        ("account", "group"),
        ("qos", "long"),
        ("gpus", 0),
        ("gpus", 1),
        ("cpus", 4),
        ("mem", "16G"),
        ("mem", "1.5T"),
        ("constraint", "a100|h100"),
        ("setup", ["module load cuda", "source venv/bin/activate"]),
        ("python", "apptainer exec image.sif python"),
        ("array_parallelism", 1),
        ("max_array_size", 20),
        ("max_jobs", 50),
        ("sbatch", {"nice": 100, "exclusive": True, "mail-user": "me@here"}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_in_a_matrix(tmp_path, key, value):
    found = getattr(schema.load(cli.write(tmp_path, slurm={key: value})).slurm, key)
    assert found == (tuple(value) if isinstance(value, list) else value)


def test_a_time_of_a_matrix_is_no_number_to_the_base_of_60(tmp_path):
    path = cli.write(tmp_path)
    path.write_text(path.read_text() + "slurm:\n  time: 12:30:00\n")
    assert schema.load(path).slurm.time == 750


BAD = [
    ({"partion": "gpu"}, "partion: unknown key: did you mean partition"),
    ({"switches": 5}, f"switches: unknown key: known: {', '.join(sorted(FIELDS))}"),
    ({"time": "soon"}, "time: expected minutes, or a time such as 12:00:00 or 2-00:00:00"),
    ({"time": 0}, "time: must be positive, got 0"),
    ({"time": 1.5}, "time: expected minutes"),
    ({"gpus": 2}, "gpus: expected at most 1, got 2"),
    ({"gpus": "1"}, "gpus: expected a whole number, got '1'"),
    ({"cpus": 0}, "cpus: expected at least 1, got 0"),
    ({"mem": "16 GB"}, "mem: "),
    ({"mem": 16}, "mem: expected a text, got 16"),
    ({"setup": "module load cuda"}, "setup: expected a list, got 'module load cuda'"),
    ({"max_jobs": 0}, "max_jobs: expected at least 1"),
    ({"sbatch": ["nice"]}, "sbatch: expected a mapping"),
    *[({"sbatch": {key: "1"}}, f"{key} is set by submit itself") for key in RESERVED],
    ({"sbatch": {"--dependency": "afterok:1"}}, "dependency is set by submit itself"),
    ({"sbatch": {"job_name": "mine"}}, "job-name is set by submit itself"),
    ({"sbatch": {"time": 5}}, "time has a key of its own: time"),
    ({"sbatch": {"cpus_per_task": 5}}, "cpus-per-task has a key of its own: cpus"),
    ({"sbatch": {"gpus-per-node": 1}}, "gpus-per-node has a key of its own: gpus"),
]


@pytest.mark.parametrize(("options", "said"), BAD, ids=range(len(BAD)))
def test_what_is_wrong_in_a_matrix(tmp_path, options, said):
    path = cli.write(tmp_path, slurm=options)
    with pytest.raises(InputError) as raised:
        schema.load(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: slurm.")
    assert said in message
    assert "\n" not in message


# ---- layers --------------------------------------------------------------------------------------


def site(folder: Path, **options) -> Path:
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(options))
    return path


def of_matrix(**options) -> SlurmOptions:
    return SlurmOptions.model_validate(options)


def test_the_command_line_wins_over_the_matrix_over_the_site(tmp_path):
    found = merged(
        site(tmp_path, partition="site", account="site", qos="site", mem="1G"),
        of_matrix(partition="matrix", account="matrix"),
        {"partition": "given", "gpus": None, "setup": []},
    )
    assert (found.partition, found.account, found.qos, found.mem) == (
        "given",
        "matrix",
        "site",
        "1G",
    )
    assert found.gpus is None
    assert found.setup == ()


def test_nothing_anywhere_is_the_clusters_default():
    assert merged(None, SlurmOptions(), {}) == SlurmOptions()


def test_setup_lines_come_one_after_the_other(tmp_path):
    found = merged(
        site(tmp_path, setup=["module purge"]),
        of_matrix(setup=["module load cuda"]),
        {"setup": ["export A=1", "export B=2"]},
    )
    assert found.setup == ("module purge", "module load cuda", "export A=1", "export B=2")


def test_other_options_of_sbatch_are_merged_by_key_however_they_are_spelt(tmp_path):
    found = merged(
        site(tmp_path, sbatch={"mail_type": "END", "nice": 5}),
        of_matrix(sbatch={"--nice": 7}),
        {"sbatch": parsed(["mail-type=FAIL", "exclusive"])},
    )
    assert found.sbatch == {"mail-type": "FAIL", "nice": 7, "exclusive": True}


def test_no_gpu_can_be_asked_for_where_the_site_gives_one(tmp_path):
    found = merged(site(tmp_path, gpus=1), SlurmOptions(), {"gpus": 0})
    assert (found.gpus, found.device) == (0, "cpu")


@pytest.mark.parametrize(
    ("options", "device"),
    [
        ({}, "cpu"),
        ({"gpus": 0}, "cpu"),
        ({"gpus": 1}, "cuda"),
        ({"sbatch": {"gres": "gpu:a100:1"}}, "cuda"),
        ({"sbatch": {"gpus-per-task": 1}}, "cuda"),
        ({"sbatch": {"gres": "scratch:100"}}, "cpu"),
        ({"sbatch": {"gpus-per-task": 0}}, "cpu"),
        ({"cpus": 4}, "cpu"),
    ],
    ids=str,
)
def test_the_device_is_what_is_asked_for(options, device):
    assert of_matrix(**options).device == device


def test_a_bad_site_file_and_a_bad_flag_are_named(tmp_path):
    path = site(tmp_path, partitions="x")
    with pytest.raises(InputError, match=rf"^{path}: partitions: unknown key: did you mean"):
        merged(path, SlurmOptions(), {})
    with pytest.raises(InputError, match=r"^command line: mem: "):
        merged(None, SlurmOptions(), {"mem": "much"})
    with pytest.raises(InputError, match=r"nowhere\.yaml: cannot be read: no such file"):
        merged(tmp_path / "nowhere.yaml", SlurmOptions(), {})


def test_a_layer_is_judged_as_it_stands_in_its_file(tmp_path):
    path = site(tmp_path, time="whenever")
    with pytest.raises(InputError, match=rf"^{path}: time: expected minutes"):
        merged(path, of_matrix(time=5), {"time": "10"})


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], {}),
        (["nice=5"], {"nice": "5"}),
        (["comment=a=b"], {"comment": "a=b"}),
        (["exclusive"], {"exclusive": True}),
        (["a=1", "a=2"], {"a": "2"}),
        (["a="], {"a": ""}),
    ],
    ids=str,
)
def test_other_options_on_the_command_line(pairs, expected):
    assert parsed(pairs) == expected


@pytest.mark.parametrize("pair", ["", "=5", "--=5", " "])
def test_an_option_without_a_name(pair):
    with pytest.raises(InputError, match="expected KEY=VALUE"):
        parsed([pair])
