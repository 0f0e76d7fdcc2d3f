"""SLURM's options: what can be given, where, and who wins."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from experiments.errors import InputError
from experiments.matrix import schema
from experiments.matrix.slurm_grammar import UNLIMITED, gpus, memory, minutes
from experiments.matrix.slurm_options import RESERVED, SlurmOptions, merged, parsed
from tests.experiments import cli


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
        "12h",
        "unlimit",
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
        ("gpus", "a100:1"),
        ("constraint", "a100|h100"),
        ("setup", ["module load cuda", "source venv/bin/activate"]),
        ("python", "apptainer exec image.sif python"),
        ("array_parallelism", 1),
        ("max_array_size", 20),
        ("max_jobs", 50),
        ("sbatch", {"nice": "100", "exclusive": True, "mail-user": "me@here"}),
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
    ({"switches": 5}, "switches: unknown key: known: sbatch, cpus, time, after, nodes"),
    ({"time": "soon"}, "time: expected minutes, or a time such as 12:00:00 or 2-00:00:00"),
    ({"time": 0}, "time: must be positive (UNLIMITED: no limit), got '0'"),
    ({"time": 1.5}, "time: expected minutes"),
    ({"gpus": 2}, "gpus: expected at most 1: it is for one process, and a cohort trains on one"),
    ({"gpus": "a100"}, "such as a100:1: did you mean a100:1?, got 'a100'"),
    ({"gpus": "gpu:a100"}, "did you mean a100:1?, got 'gpu:a100'"),
    ({"gpus": True}, "gpus: expected 0, 1, or a type and a number"),
    ({"cpus": 0}, "cpus: expected at least 1, got 0"),
    ({"mem": "16 GB"}, "mem: "),
    ({"mem": "1.5G"}, "mem: sbatch takes whole numbers only: 1536M, got '1.5G'"),
    ({"mem": True}, "mem: expected megabytes, or an amount such as 16G or 2000MB, got 'true'"),
    ({"setup": "module load cuda"}, "setup: expected a list, got 'module load cuda'"),
    ({"max_jobs": 0}, "max_jobs: expected at least 1"),
    ({"sbatch": ["nice"]}, "sbatch: expected a mapping"),
    *[({"sbatch": {key: "1"}}, f"{key} is set by submit itself") for key in RESERVED],
    ({"sbatch": {"--dependency": "afterok:1"}}, "dependency is set by submit itself"),
    ({"sbatch": {"job_name": "mine"}}, "job-name is set by submit itself"),
    ({"sbatch": {"time": 5}}, "time has a key of its own: time"),
    ({"sbatch": {"arr": "0-99"}}, "array is set by submit itself"),
    ({"sbatch": {"dep": "afterok:1"}}, "dependency is set by submit itself"),
    ({"sbatch": {"-a": "0-99"}}, "array is set by submit itself"),
    ({"sbatch": {"J": "mine"}}, "job-name is set by submit itself"),
    ({"sbatch": {"o": "log"}}, "output is set by submit itself"),
    ({"sbatch": {"d": "afterok:1"}}, "dependency is set by submit itself"),
    ({"sbatch": {"test": True}}, "test-only is set by submit itself"),
    ({"sbatch": {"p": "gpu"}}, "partition has a key of its own: partition"),
    ({"sbatch": {"-A": "me"}}, "account has a key of its own: account"),
    ({"sbatch": {"t": "5"}}, "time has a key of its own: time"),
    ({"sbatch": {"c": "5"}}, "cpus-per-task has a key of its own: cpus"),
    ({"sbatch": {"G": "5"}}, "gpus has a key of its own: gpus"),
    ({"sbatch": {"parti": "gpu"}}, "partition has a key of its own: partition"),
    ({"sbatch": {"n": 4}}, "ntasks is set by submit itself, from `processes` of the matrix"),
    ({"sbatch": {"exclu": True}}, "exclu may be any of exclude, exclusive: write the whole name"),
    ({"sbatch": {"nice": 5, "--nice": 7}}, "nice is given twice"),
    ({"sbatch": {"mail-type END": True}}, "is no option of sbatch: expected a name such as"),
    ({"sbatch": {"comment": "x\n#SBATCH --array=0-9"}}, "comment: expected one line"),
    ({"sbatch": {"hold": 5}}, "hold: takes no value: expected true or false, got '5'"),
    ({"partition": "gpu\n#SBATCH --array=0-9"}, "partition: expected one line"),
    ({"account": "a\rb"}, "account: expected one line"),
    ({"qos": "a\nb"}, "qos: expected one line"),
    ({"constraint": "a\nb"}, "constraint: expected one line"),
    ({"python": "a\nb"}, "python: expected one line"),
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


# Every pair was tried on SLURM 22.05: `sbatch --test-only --mem=GIVEN`.
MEMORY = {
    "0": "0",
    "16000": "16000M",
    "16g": "16G",
    "16GB": "16G",
    "16Gb": "16G",
    "2000MB": "2000M",
    "2000mb": "2000M",
    "100k": "100K",
    "1000KB": "1000K",
    "1t": "1T",
    "+5G": "5G",
    "016": "16M",
}
NO_MEMORY = ["1.5G", "16MiB", "16gib", "16 G", "0x10", "-5", "1P", "", "much", "1e3", "16B5"]


@pytest.mark.parametrize(("given", "expected"), MEMORY.items())
def test_memory_as_sbatch_takes_it(given, expected):
    assert memory(given) == expected
    assert memory(expected) == expected


@pytest.mark.parametrize("given", NO_MEMORY)
def test_what_is_no_memory_to_sbatch(given):
    with pytest.raises(ValueError, match=r"^expected megabytes|^sbatch takes whole numbers only"):
        memory(given)


@pytest.mark.parametrize("word", ["infinite", "INFINITE", "UNLIMITED", "Unlimited"])
def test_no_limit_in_slurms_words(word):
    assert minutes(word) == UNLIMITED


@pytest.mark.parametrize(
    ("given", "expected"),
    [("0", 0), ("1", 1), (1, 1), ("a100:1", "a100:1"), ("a100:2", "a100:2"), ("a100:0", 0)],
    ids=str,
)
def test_gpus_with_and_without_a_type(given, expected):
    assert gpus(given) == expected


def test_what_is_written_in_yaml_reaches_sbatch(tmp_path):
    """YAML's own reading: 20240501, 7, an error, True, 1000.0, 12:30 (1.2: 750), 8."""
    written = {
        "reservation": "2024_05_01",
        "wckey": "007",
        "begin": "2026-12-01",
        "comment": "yes",
        "licenses": "1e3",
        "deadline": "12:30",
        "exclude": "010",
        "mail-type": "off",
    }
    block = "".join(f"    {key}: {value}\n" for key, value in written.items())
    own = "  account: 2024_05_01\n  partition: 007\n  qos: on\n  mem: 16000\n"
    path = cli.write(tmp_path)
    path.write_text(f"{path.read_text()}slurm:\n{own}  sbatch:\n{block}")
    found = schema.load(path).slurm
    assert found.sbatch == written
    assert (found.account, found.partition, found.qos) == ("2024_05_01", "007", "on")
    assert found.mem == "16000M"
    (tmp_path / "site.yaml").write_text(f"qos: 1_0\nsbatch:\n{block}")
    of_site = merged(tmp_path / "site.yaml", SlurmOptions(), {})
    assert (of_site.sbatch, of_site.qos) == (written, "1_0")


def test_what_an_alias_shares_stays_a_number_elsewhere(tmp_path):
    path = cli.write(tmp_path, trials=None)
    text = path.read_text().replace("trials: null", "trials: &n 2")
    path.write_text(f"{text}slurm:\n  cpus: *n\n  sbatch: {{nice: *n}}\n")
    found = schema.load(path)
    assert (found.trials, found.slurm.cpus, found.slurm.sbatch) == (2, 2, {"nice": "2"})


SWITCHES = [
    ({"exclusive": "yes"}, True),
    ({"exclusive": "user"}, "user"),
    ({"exclusive": "false"}, False),
    ({"contiguous": "on"}, True),
    ({"hold": "no"}, False),
    ({"propagate": "STACK"}, "STACK"),
    ({"mail-type": "false"}, False),  # a matrix takes away what its site file gives
    ({"comment": "on"}, "on"),
    ({"private_tmp": "true"}, True),  # a plugin's of the site
    ({"private_tmp": "on"}, "on"),
]


@pytest.mark.parametrize(("given", "expected"), SWITCHES, ids=str)
def test_switches_are_switches_however_yaml_writes_them(given, expected):
    assert list(of_matrix(sbatch=given).sbatch.values()) == [expected]


def test_an_option_that_needs_a_value_is_refused_without():
    with pytest.raises(InputError, match=r"^command line: sbatch: comment: expected a value$"):
        merged(None, SlurmOptions(), {"sbatch": parsed(["comment"])})


def test_one_task_may_be_asked_for():
    assert of_matrix(sbatch={"ntasks": "1"}).sbatch == {"ntasks": "1"}


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
        {"sbatch": parsed(["mail-ty=FAIL", "exclusive"])},
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
