"""GPUs, cores and code: judged without a GPU."""

from __future__ import annotations

import subprocess

import pytest
import torch

from datasets import cores
from experiments.doctor import machine
from experiments.doctor.finding import FAIL, OK, WARN
from experiments.local import devices

H200 = "NVIDIA H200, 120 of 139 GiB free"
DRIVER = "driver 470, CUDA 11.4"


def test_torch_and_torchvision(monkeypatch):
    finding = machine.check_torch()
    assert (finding.level, torch.__version__ in finding.message) == (OK, True)

    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(machine.importlib, "import_module", broken)
    finding = machine.check_torch()
    assert (finding.level, "nms does not exist" in finding.message) == (FAIL, True)


@pytest.mark.parametrize(
    ("gpus", "error", "driver", "built_for", "device", "job_device", "level", "words"),
    [
        ([H200, H200], "", DRIVER, "CUDA 13", "auto", None, OK, f"{H200}; {H200}; driver 470"),
        ([], "", "", None, "auto", None, WARN, "fine for small data"),
        ([], "", "", "CUDA 13", "auto", "cuda", WARN, "fine on a login node"),
        ([], "", "", None, "auto", "cpu", WARN, "fine on a login node"),
        ([], "", "", None, "auto", "cuda", FAIL, "jobs want one): torch is built for CPUs"),
        ([], "", "", "CUDA 13", "cuda", None, FAIL, "another machine"),
        ([], "", DRIVER, None, "auto", None, FAIL, "(driver 470, CUDA 11.4): torch is built for"),
        ([], "", DRIVER, None, "cpu", None, WARN, "install torch for CUDA"),
        ([], "", DRIVER, "CUDA 13", "auto", None, FAIL, "built for CUDA 13; driver 470"),
        ([], "The NVIDIA driver is too old", "", "CUDA 13", "auto", None, FAIL, "newer driver"),
        ([], "initialization error", DRIVER, "CUDA 13", "auto", "cuda", WARN, "dmesg"),
        ([H200], "cuda:1: no kernel image is", "", "CUDA 13", "auto", None, FAIL, "this GPU model"),
        ([H200], "cuda:1: devices are busy", DRIVER, "CUDA 13", "cpu", None, WARN, "another proc"),
    ],
)
def test_gpus(monkeypatch, gpus, error, driver, built_for, device, job_device, level, words):
    monkeypatch.setattr(machine, "find_gpus", lambda: (gpus, error))
    monkeypatch.setattr(machine, "find_driver", lambda: driver)
    monkeypatch.setattr(machine, "_built_for", lambda: built_for)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    finding = machine.check_gpus(device, job_device)
    assert finding.level == level
    assert words in str(finding)
    assert finding.fix or level == OK


def test_a_hidden_gpu(monkeypatch):
    monkeypatch.setattr(machine, "find_gpus", lambda: ([], ""))
    monkeypatch.setattr(machine, "find_driver", lambda: DRIVER)
    monkeypatch.setattr(machine, "_built_for", lambda: "CUDA 13")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    finding = machine.check_gpus("auto", None)
    assert (finding.level, finding.fix) == (WARN, "unset CUDA_VISIBLE_DEVICES to use it")


def test_every_gpu_computes(monkeypatch):
    def compute(device):
        if device.index:
            raise RuntimeError("CUDA error: no kernel image is available\nfor execution")
        return H200

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(machine, "_compute", compute)
    assert machine.find_gpus() == ([H200], "cuda:1: CUDA error: no kernel image is available")


def test_the_driver_is_that_of_nvidia_smi(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.find_driver() == ""
    script = tmp_path / "nvidia-smi"
    line = "| NVIDIA-SMI 550.54   Driver Version: 550.54.14    CUDA Version: 12.4  |"
    script.write_text(f'#!/bin/sh\necho "{line}"\n')
    script.chmod(0o755)
    assert machine.find_driver() == "driver 550.54.14, CUDA 12.4"

    def hang(command, **more):
        raise subprocess.TimeoutExpired(command, more["timeout"])

    monkeypatch.setattr(machine.subprocess, "run", hang)
    assert machine.find_driver() == ""


@pytest.mark.parametrize(
    ("threads", "job_device", "cpus", "level"),
    [
        (1, None, None, OK),
        (4, None, None, WARN),
        (4, "cpu", None, WARN),
        (4, "cpu", 4, OK),
        (4, "cuda", None, OK),
    ],
)
def test_cores(monkeypatch, threads, job_device, cpus, level):
    monkeypatch.setattr(devices, "_cores", lambda: 2)
    assert machine.check_cores(threads, job_device, cpus).level == level


def test_a_quota_is_said(monkeypatch):
    monkeypatch.setattr(cores, "allowed", lambda: 16)
    monkeypatch.setattr(cores, "quota", lambda: 2.5)
    said = machine.check_cores(1, None, None).message
    assert said.startswith("2 (the control group grants the time of 2.5 of 16 cores); `run`")
    monkeypatch.setattr(cores, "quota", lambda: None)
    assert machine.check_cores(1, None, None).message.startswith("16; `run` on the CPU: 16 workers")


def test_shared_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_available", lambda: 10**9)
    finding = machine.check_shared_memory(25 * 10**6, tmp_path)
    assert finding.level == OK
    assert f"{tmp_path}: " in finding.message and "at most 25 MB of memory" in finding.message
    finding = machine.check_shared_memory(2 * 10**9, tmp_path / "none")
    assert finding.level == WARN
    assert "No such file or directory" in finding.message
    assert "2,000 MB of memory per view, of 1,000 MB available" in finding.message


@pytest.mark.parametrize(
    ("commit", "dirty", "level", "words"),
    [
        ("a" * 40, False, OK, "aaaaaaaaaa"),
        ("a" * 40, True, WARN, "--snapshot"),
        (None, None, WARN, "work in a git checkout"),
    ],
)
def test_code(monkeypatch, tmp_path, commit, dirty, level, words):
    monkeypatch.setattr(machine, "CHECKOUT", tmp_path)
    finding = machine.check_code({"commit": commit, "dirty": dirty, "changes": None})
    assert finding.level == level
    assert words in str(finding)


def test_another_users_checkout(monkeypatch, tmp_path):
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(machine, "CHECKOUT", tmp_path)
    assert "safe.directory" in machine.check_code({"commit": None, "dirty": None}).fix
