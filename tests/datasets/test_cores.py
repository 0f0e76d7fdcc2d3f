"""How many cores count: affinity, and the CPU time that control groups grant."""

from __future__ import annotations

import os

import pytest

from datasets import cores

V2 = "0::{}\n"
MOUNT2 = "41 31 0:38 {} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "12:memory:{0}\n4:cpu,cpuacct:{0}\n1:name=systemd:{0}\n"
MOUNT1 = "32 31 0:29 {} /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
OTHER = (
    "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n1 1 0:1 / / rw - ext4 x rw\n"
)


def tree(root, groups, mounts, files):
    """A file tree as a process sees it."""
    files = {"proc/self/cgroup": groups, "proc/self/mountinfo": OTHER + mounts, **files}
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def second(group, files, mounted="/"):
    named = {f"sys/fs/cgroup/{folder}cpu.max": text for folder, text in files.items()}
    return V2.format(group), MOUNT2.format(mounted), named


def first(group, files, mounted="/"):
    named = {}
    for folder, (quota, period) in files.items():
        named[f"sys/fs/cgroup/cpu/{folder}cpu.cfs_quota_us"] = f"{quota}\n"
        named[f"sys/fs/cgroup/cpu/{folder}cpu.cfs_period_us"] = f"{period}\n"
    return V1.format(group), MOUNT1.format(mounted), named


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (second("/", {"": "100000 100000\n"}), 1.0),  # a namespace: the container's own is the top
        (second("/job", {"job/": "50000 100000"}), 0.5),
        (second("/job", {"job/": "max 100000"}), None),
        (second("/pod/job", {"pod/job/": "400000 100000", "pod/": "150000 100000"}), 1.5),
        (second("/pod/job", {"pod/job/": "max 100000", "": "200000 100000"}), 2.0),
        (second("/../other", {"": "300000 100000"}), 3.0),  # moved out of its namespace
        (second("/docker/ab", {"": "200000 100000"}, mounted="/docker/ab"), 2.0),
        (second("/job", {"job/": "garbage"}), None),
        (second("/job", {"job/": "100000 0"}), None),
        (second("/job", {}), None),
        (first("/", {"": (-1, 100000)}), None),
        (first("/docker/ab", {"": (250000, 100000)}, mounted="/docker/ab"), 2.5),
        (first("/a/b", {"a/b/": (-1, 100000), "a/": (100000, 50000)}), 2.0),
        (("", "", {}), None),
    ],
)
def test_the_least_limit_from_the_own_group_upwards(tmp_path, seen, expected):
    assert cores.quota(tree(tmp_path, *seen)) == expected


def test_both_versions_at_once(tmp_path):
    """As systemd's hybrid layout has it: the CPU controller is in version 1."""
    groups, mounts, files = first("/job", {"job/": (300000, 100000)})
    hybrid = mounts + MOUNT2.format("/").replace("cgroup rw", "cgroup/unified rw", 1)
    assert cores.quota(tree(tmp_path, groups + "0::/job\n", hybrid, files)) == 3.0


def test_no_proc_is_no_limit(tmp_path):
    assert cores.quota(tmp_path) is None


@pytest.mark.parametrize(
    ("granted", "expected"),
    [(None, 8), (0.5, 1), (1.0, 1), (1.5, 1), (3.9, 3), (8.0, 8), (64.0, 8)],
)
def test_a_quota_is_rounded_down_to_a_whole_core_at_least(monkeypatch, granted, expected):
    monkeypatch.setattr(cores, "allowed", lambda: 8)
    monkeypatch.setattr(cores, "quota", lambda: granted)
    assert cores.usable() == expected


def test_the_affinity_counts(monkeypatch):
    assert cores.allowed() == len(os.sched_getaffinity(0))
    monkeypatch.setattr(os, "process_cpu_count", lambda: 5, raising=False)  # Python 3.13
    assert cores.allowed() == 5
