"""What is said of GPUs, cores and code: judged from descriptions, no GPU needed."""

from __future__ import annotations

import subprocess

import pytest
import torch

from experiments.doctor import machine
from experiments.doctor.finding import FAIL, OK, WARN
from experiments.doctor.machine import Gpus
from experiments.local import devices

H200 = "NVIDIA H200, 139 GiB"
GOOD = Gpus((H200, H200), present=("NVIDIA H200",) * 2, driver="driver 570, CUDA 12.8")
CUDA = "CUDA 13.2"
OLD = Gpus(present=("Tesla V100",), driver="driver 470, CUDA 11.4", built_for=CUDA)


def test_torch_build():
    found = machine.torch_build()
    assert found.level == OK
    assert torch.__version__ in found.found


def test_torchvision_of_another_torch(monkeypatch):
    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(machine.importlib, "import_module", broken)
    found = machine.torch_build()
    assert found.level == FAIL
    assert "nms does not exist" in found.found


@pytest.mark.parametrize(
    ("gpus", "device", "jobs", "level", "words"),
    [
        (GOOD, "auto", None, OK, f"2 x {H200}; driver 570"),
        (Gpus((H200,), busy=True), "auto", None, WARN, "nvidia-smi"),
        (Gpus(), "auto", None, WARN, "fine for small matrices"),
        (Gpus(), "auto", "cpu", WARN, "fine on a login node"),
        (Gpus(built_for=CUDA), "auto", "cuda", WARN, "fine on a login node"),
        (Gpus(), "auto", "cuda", FAIL, "built for CPUs only"),
        (Gpus(), "cuda", None, FAIL, "another machine"),
        (Gpus(present=("A100",)), "auto", None, FAIL, "built for CPUs only"),
        (Gpus(present=("A100",)), "cpu", None, WARN, "built for CPUs only"),
        (OLD, "auto", None, FAIL, "as new as torch's CUDA 13.2"),
        (OLD, "cpu", None, WARN, "driver 470, CUDA 11.4"),
        (Gpus(present=("A100",), built_for=CUDA, hidden=""), "auto", None, WARN, "unset CUDA"),
        (Gpus(error="The NVIDIA driver is too old", built_for=CUDA), "auto", None, FAIL, "driver"),
        (Gpus(error="initialization error", built_for=CUDA), "auto", "cuda", WARN, "dmesg"),
        (Gpus((H200,), "cuda:1: no kernel image is available"), "auto", None, FAIL, "this kind"),
        (Gpus((H200,), "cuda:1: devices are busy or unavailable"), "auto", None, FAIL, "whose"),
    ],
)
def test_gpu(gpus, device, jobs, level, words):
    found = machine.gpu(gpus, device, jobs)
    assert found.level == level
    assert words in str(found)
    assert found.mend or level == OK


def test_looking_computes_on_every_gpu(monkeypatch):
    def compute(index):
        if index:
            raise RuntimeError("CUDA error: no kernel image is available\nfor execution")
        return H200, 0.9

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(machine, "_compute", compute)
    monkeypatch.setenv("PATH", "/nonexistent")
    found = machine.look_for_gpus()
    assert found.usable == (H200,)
    assert found.busy
    assert found.error == "cuda:1: CUDA error: no kernel image is available"


SMI = """#!/bin/sh
case "$1" in
--query-gpu=name) echo "NVIDIA A100"; echo "NVIDIA A100" ;;
*) echo "| NVIDIA-SMI 550.54   Driver Version: 550.54.14    CUDA Version: 12.4  |" ;;
esac
"""


def test_nvidia_smi_is_asked(monkeypatch, tmp_path):
    script = tmp_path / "nvidia-smi"
    script.write_text(SMI)
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = machine.look_for_gpus()
    assert found.present == ("NVIDIA A100",) * 2
    assert found.driver == "driver 550.54.14, CUDA 12.4"


def test_a_hanging_nvidia_smi_is_left_alone(monkeypatch):
    def hang(command, **more):
        raise subprocess.TimeoutExpired(command, more["timeout"])

    monkeypatch.setattr(machine.shutil, "which", lambda name: name)
    monkeypatch.setattr(machine.subprocess, "run", hang)
    assert machine.look_for_gpus().present == ()


@pytest.mark.parametrize(
    ("threads", "jobs", "cpus", "levels"),
    [
        (1, None, None, [OK]),
        (4, None, None, [WARN]),
        (4, "cpu", None, [OK, WARN]),
        (4, "cpu", 4, [OK]),
        (4, "cuda", None, [OK]),
    ],
)
def test_cores(monkeypatch, threads, jobs, cpus, levels):
    monkeypatch.setattr(devices, "_cores", lambda: 2)
    found = machine.cores(threads, jobs, cpus)
    assert [f.level for f in found] == levels
    assert found[0].found.startswith("2")


@pytest.mark.parametrize(
    ("commit", "dirty", "level", "words"),
    [
        ("a" * 40, False, OK, "aaaaaaaaaa"),
        ("a" * 40, True, WARN, "--snapshot"),
        (None, None, WARN, "git tells no commit"),
    ],
)
def test_code(commit, dirty, level, words):
    found = machine.code({"commit": commit, "dirty": dirty, "changes": None})
    assert found.level == level
    assert words in str(found)


@pytest.mark.parametrize(
    ("has_git", "words"), [(True, "safe.directory"), (False, "`git` is not here")]
)
def test_a_checkout_of_which_git_does_not_tell(monkeypatch, tmp_path, has_git, words):
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(machine, "CHECKOUT", tmp_path)
    monkeypatch.setattr(machine.shutil, "which", lambda name: name if has_git else None)
    assert words in machine.code({"commit": None, "dirty": None}).mend
