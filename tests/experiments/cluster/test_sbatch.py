"""The script of an array, and what goes to sbatch with it."""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.cluster import sbatch
from experiments.matrix.slurm_grammar import UNLIMITED
from experiments.matrix.slurm_options import SlurmOptions
from experiments.slurm import SlurmError

DATA = Path(__file__).parent / "data"
NAME = "kd-digits-0123abcd"
FULL = SlurmOptions(
    partition="gpu",
    account="group",
    qos="long",
    gpus=1,
    cpus=4,
    mem="16G",
    constraint="a100|h100",
    setup=("module load cuda", "source ~/venv/bin/activate"),
    python="python3",
    array_parallelism=5,
    sbatch={"nice": 100, "mail-user": "ada@here", "exclusive": True, "overcommit": False},
)


AFTER = SlurmOptions(after="5,6_1")


def about(**changes) -> dict:
    """What `sbatch` is told of an array."""
    usual = {"name": NAME, "tasks": 12, "options": SlurmOptions(python="python3")}
    return {**usual, "minutes": 60, "code": Path("/a place/code"), **changes}


def rendered(folder: Path | None = None, **changes) -> str:
    return sbatch.script(folder or Path(f"/a place/runs/.slurm/{NAME}"), **about(**changes))


def options(script: str) -> dict[str, str]:
    """The #SBATCH lines as SLURM reads them."""
    words = [shlex.split(line) for line in re.findall(r"^#SBATCH (.*)$", script, re.MULTILINE)]
    assert all(len(line) == 1 for line in words)
    pairs = [line[0].removeprefix("--").partition("=") for line in words]
    return {key: value for key, _, value in pairs}


def assert_as_recorded(text: str, name: str) -> None:
    """Where the change is meant: put the text into tests/experiments/data/NAME."""
    before = (DATA / name).read_text()
    lines = difflib.unified_diff(before.splitlines(), text.splitlines(), name, "now", lineterm="")
    difference = "\n".join(lines)
    assert not difference, f"the script has changed:\n{difference}"


# ---- the script ----------------------------------------------------------------------------------


def test_a_script_with_everything_is_as_recorded():
    folder = Path(f'/a place/it\'s "runs"/.slurm/{NAME}')
    assert_as_recorded(rendered(folder, options=FULL, after=["17_3"]), "array_full.sh")


def test_a_script_with_nothing_is_as_recorded():
    assert_as_recorded(rendered(minutes=None), "array_plain.sh")


def test_what_every_array_needs():
    found = options(rendered())
    assert found["array"] == "0-11%12"
    assert found["kill-on-invalid-dep"] == "yes"
    assert found["requeue"] == ""
    assert found["open-mode"] == "append"
    assert found["job-name"] == NAME
    assert found["output"].endswith(f"/{NAME}/%A_%a_0_log.out")
    assert not {"dependency", "partition", "mem", "gpus-per-node", "cpus-per-task"} & set(found)


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        ({"tasks": 1}, "array", "0-0%1"),
        ({"options": SlurmOptions(array_parallelism=3)}, "array", "0-11%3"),
        ({"options": SlurmOptions(array_parallelism=30)}, "array", "0-11%12"),
        ({"after": ["17_3"]}, "dependency", "afterok:17_3"),
        ({"after": ["17_3"], "options": AFTER}, "dependency", "afterany:5:6_1,afterok:17_3"),
        ({"after": ["17_3", "19_0"]}, "dependency", "afterok:17_3:19_0"),
        (
            {"after_end": ["20", "21"], "after": ["17_3"]},
            "dependency",
            "afterany:20:21,afterok:17_3",
        ),
        ({"after_end": ["20", "5"], "options": AFTER}, "dependency", "afterany:5:6_1:20"),
        ({"options": AFTER}, "dependency", "afterany:5:6_1"),
        ({"minutes": 5}, "time", "5"),
        ({"minutes": UNLIMITED}, "time", "UNLIMITED"),
        ({"options": SlurmOptions(gpus="a100:1")}, "gpus-per-node", "a100:1"),
        ({"options": SlurmOptions(gpus="a100:2"), "processes": 2}, "gpus-per-node", "a100:2"),
        ({"options": SlurmOptions(gpus="a100:1"), "processes": 2}, "gpus-per-node", "a100:2"),
        ({"comment": "digits, 8 runs"}, "comment", "digits, 8 runs"),
        ({"comment": "ours", "options": SlurmOptions(sbatch={"comment": "b"})}, "comment", "b"),
        ({"options": SlurmOptions(sbatch={"comment": "a\\b"})}, "comment", "a\\\\b"),
        ({"options": SlurmOptions(gpus=1)}, "gpus-per-node", "1"),
        ({"options": SlurmOptions(gpus=0)}, "gpus-per-node", None),
        ({"options": SlurmOptions(cpus=2)}, "cpus-per-task", "2"),
        ({"options": SlurmOptions(mem="500M")}, "mem", "500M"),
        ({"options": SlurmOptions(sbatch={"gres": "gpu:a100:1"})}, "gres", "gpu:a100:1"),
        ({"options": SlurmOptions(sbatch={"exclusive": True})}, "exclusive", ""),
        ({"options": SlurmOptions(sbatch={"exclusive": False})}, "exclusive", None),
        ({"options": SlurmOptions(sbatch={"comment": "it's a b"})}, "comment", "it's a b"),
    ],
    ids=range(25),
)
def test_an_option(changes, key, value):
    assert options(rendered(**changes)).get(key) == value


@pytest.mark.parametrize(
    ("minutes", "seconds"), [(None, 180), (1, 15), (4, 60), (12, 180), (60, 180)]
)
def test_the_signal_comes_before_the_limit_and_not_at_once(minutes, seconds):
    found = options(rendered(minutes=minutes))
    assert found["signal"] == f"USR2@{seconds}"
    assert minutes is None or seconds <= 60 * minutes / 4


def test_no_limit_is_the_partitions():
    assert "time" not in options(rendered(minutes=None))


def test_srun_is_told_the_cpus_again():
    command = rendered(options=SlurmOptions(cpus=3)).splitlines()[-1]
    assert "--cpus-per-task=3" in shlex.split(command)


def test_setup_lines_come_before_python_and_after_ours():
    lines = rendered(options=SlurmOptions(setup=("module purge", "module load cuda"))).splitlines()
    at = [lines.index(line) for line in (*sbatch.SETUP, "module purge", "module load cuda")]
    assert at == sorted(at)
    assert lines[-1].startswith("srun ")


def test_srun_hands_on_what_the_script_has_set_whatever_sbatch_exports():
    """With `export: NONE` srun would start Python without the setup lines' variables."""
    for value in ("NONE", "HOME,FOO=1"):
        script = rendered(options=SlurmOptions(sbatch={"export": value}))
        assert options(script)["export"] == value
        assert "--export=ALL" in shlex.split(script.splitlines()[-1])


@pytest.mark.parametrize("name", ["50% off", "100%%", "%u%x", "%j %A_%a %t"])
def test_a_percent_sign_of_the_folder_is_no_pattern(name):
    script = rendered(Path(f"/a/{name}/kd-1"))
    written = f"/a/{name.replace('%', '%%')}/kd-1"
    assert options(script)["output"] == f"{written}/%A_%a_0_log.out"
    *srun, place = shlex.split(script.splitlines()[-1])
    assert srun[srun.index("--output") + 1] == f"{written}/%A_%a_%t_log.out"
    assert place == f"/a/{name}/kd-1"


def test_a_setup_line_is_no_option():
    """sbatch reads options up to the first command, and ours come before."""
    lines = rendered(options=SlurmOptions(setup=("#SBATCH --array=0-9",))).splitlines()
    assert lines.index(sbatch.SETUP[0]) < lines.index("#SBATCH --array=0-9")


def test_looking_at_a_script_writes_nothing(tmp_path):
    rendered(tmp_path / "not there")
    assert list(tmp_path.iterdir()) == []


PRINTER = f"{shlex.quote(sys.executable)} -S -E -c 'import sys, json; print(json.dumps(sys.argv))'"


@pytest.mark.parametrize(
    "name", ["plain", "with spaces", "it's", 'a "b" c', "$HOME; ls #", "a&b|(c)", "ümläut *"]
)
def test_what_bash_makes_of_it(fake, tmp_path, monkeypatch, name):
    """The lines of the script are run; `srun` is the fake's."""
    folder, code = tmp_path / name / "kd-1", tmp_path / name / "the code"
    folder.mkdir(parents=True)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "17")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    chosen = SlurmOptions(python=PRINTER, cpus=2, setup=("export FOO='a b'",))
    script = rendered(folder, options=chosen, code=code)
    assert options(script)["output"] == str(folder / "%A_%a_0_log.out")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads((folder / "17_3_0_log.out").read_text())
    assert said[1:] == ["-u", str(code / "benchmark.py"), "work", str(folder)]


def test_python_is_this_one_unless_told_otherwise():
    command = rendered(options=SlurmOptions()).splitlines()[-1]
    assert f" {shlex.quote(sys.executable)} -u " in command


# ---- sending -------------------------------------------------------------------------------------


def send(folder: Path, **changes) -> str:
    folder.mkdir(exist_ok=True)
    return sbatch.send(folder, **about(**changes)).job


def test_the_answer_is_the_job(fake, tmp_path):
    assert send(tmp_path / "a", tasks=3) == "100"
    assert send(tmp_path / "b") == "104"
    assert [len(job["tasks"]) for job in fake.jobs] == [3, 12]
    assert [job["name"] for job in fake.jobs] == [NAME, NAME]


def test_what_is_sent_is_what_a_dry_run_shows(fake, tmp_path):
    send(tmp_path / "a", options=FULL)
    assert fake.jobs[0]["script"] == rendered(tmp_path / "a", options=FULL)


OF_A_JOB = {
    "SLURM_JOB_ID": "5",
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURM_MEM_PER_NODE": "100",
    "SLURM_CPUS_PER_TASK": "2",
    "SLURMD_NODENAME": "n1",
    "SBATCH_TIMELIMIT": "5",
    "SUBMITIT_EXECUTOR": "slurm",
    "WORLD_SIZE": "8",
}


def test_the_job_that_this_process_is_part_of_is_not_handed_on(fake, tmp_path, monkeypatch):
    """But where the cluster is, is; and so is all else."""
    others = {"SLURM_CONF": "/etc/a/slurm.conf", "MY_VARIABLE": "mine"}
    for key, value in {**OF_A_JOB, **others}.items():
        monkeypatch.setenv(key, value)
    before = dict(os.environ)
    send(tmp_path / "a")
    seen = fake.jobs[0]["environment"]
    assert not set(OF_A_JOB) & set(seen)
    assert seen.items() >= others.items()
    assert dict(os.environ) == before


def test_defaults_of_the_shell_hold_where_nothing_is_given(fake, tmp_path, monkeypatch):
    """sbatch prefers them to its script."""
    for name in ("ACCOUNT", "PARTITION", "RESERVATION"):
        monkeypatch.setenv(f"SBATCH_{name}", "of the shell")
    options = SlurmOptions(partition="mine", sbatch={"reservation": "mine"})
    send(tmp_path / "a", options=options)
    seen = fake.jobs[0]["environment"]
    assert {name for name in seen if name.startswith("SBATCH")} == {"SBATCH_ACCOUNT"}


def test_without_a_configuration_none_is_made_up(fake, tmp_path):
    send(tmp_path / "a")
    assert not [key for key in fake.jobs[0]["environment"] if key.startswith("SLURM")]


REFUSALS = {
    "sbatch: error: invalid partition specified: x\n"
    "sbatch: error: Batch job submission failed: Invalid partition name specified": (
        "sbatch: invalid partition specified: x; "
        "Batch job submission failed: Invalid partition name specified"
    ),
    "sbatch: error: Batch job submission failed: Invalid account": (
        "sbatch: Batch job submission failed: Invalid account"
    ),
    "sbatch: fatal: Could not establish a configuration source": (
        "sbatch: Could not establish a configuration source"
    ),
    "a plugin's own words": "sbatch: a plugin's own words",
}


@pytest.mark.parametrize(("said", "line"), REFUSALS.items(), ids=range(4))
def test_a_refusal_is_sbatchs_own_words_in_one_line(fake, tmp_path, capfd, said, line):
    fake.refuse("sbatch", said)
    with pytest.raises(SlurmError) as raised:
        send(tmp_path / "a")
    assert str(raised.value) == line
    assert capfd.readouterr() == ("", "")  # nobody is told twice


def test_too_large_an_array_is_refused(fake, tmp_path):
    fake.set(config={"MaxArraySize": 20})
    assert send(tmp_path / "a", tasks=20)
    with pytest.raises(SlurmError, match="Invalid job array specification"):
        send(tmp_path / "b", tasks=21)


def test_an_answer_without_an_id_is_an_error(fake, tmp_path):
    (fake.bin / "sbatch").write_text("#!/bin/sh\necho queued somewhere\n")
    with pytest.raises(SlurmError, match=r"^sbatch: .*queued somewhere"):
        send(tmp_path / "a")


def test_processes_are_tasks_of_the_job_spread_over_nodes():
    asked = SlurmOptions(gpus=1, cpus=6, nodes=2)
    script = rendered(options=asked, processes=8)
    found = options(script)
    assert (found["nodes"], found["ntasks-per-node"]) == ("2", "4")
    assert (found["gpus-per-node"], found["cpus-per-task"]) == ("4", "6")
    (line,) = re.findall(r"^srun .*$", script, re.MULTILINE)
    assert "--kill-on-bad-exit=1" in line
    assert "--cpus-per-task=6" in line


def test_one_process_asks_for_nothing_of_the_kind():
    assert "ntasks-per-node" not in options(rendered())
    assert "kill-on-bad-exit" not in rendered()
