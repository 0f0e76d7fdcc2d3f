"""What `submit` checks before sbatch: requests that no node or limit will ever let start, disks."""

from __future__ import annotations

import os
import time

import pytest

from experiments.cluster.site import Nodes, Partition, Site
from experiments.doctor import disk, requests
from experiments.doctor.before_submit import check
from experiments.doctor.disk import Need
from experiments.doctor.finding import FAIL, WARN
from experiments.matrix.slurm_options import SlurmOptions
from tests.experiments import sending

GPU = Partition("gpu", longest=1440)
LONG = Partition("long", longest=10080)
NODES = (
    Nodes("gpu", 64, 256000, frozenset({"a100", "v100"})),
    Nodes("gpu", 32, 512000, frozenset({""})),
)


def said(there: Site, processes: int = 1, **options) -> list[str]:
    found = requests.problems(there, SlurmOptions(**options), processes)
    return [f"{f.level} {f.subject}: {f.message}; {f.fix}" for f in found]


def at(*partitions: Partition, nodes: tuple[Nodes, ...] = NODES, **more) -> Site:
    return Site(partitions, ("gpu", "long", "short"), nodes, **more)


def submit(place, *flags):
    return place.call("submit", "--yes", "--no-timing", *flags)


# ---- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "minutes", "limit"),
    [
        (at(GPU), 1440, None),
        (at(GPU), 1441, "partition gpu allows 1,440 minutes"),
        (at(GPU), "UNLIMITED", "partition gpu allows 1,440 minutes"),
        (at(GPU, LONG), 1441, None),  # it starts in the long one
        (at(GPU, LONG), 10081, "partition gpu,long allows 10,080 minutes"),
        (at(GPU, LONG, all_parts=True), 1441, "partition gpu,long allows 1,440 minutes"),
        (at(Partition("gpu")), "UNLIMITED", None),
        (
            at(GPU, policies=({"maxwall": "0:30:00", "what": "qos x"},)),
            31,
            "qos x allows 30 minute",
        ),
        (at(Partition("gpu"), policies=({"maxwall": "30:00", "what": "x"},)), 31, "x allows 30"),
        (at(), 5000, None),
    ],
    ids=range(10),
)
def test_a_time_that_no_partition_gives(there, minutes, limit):
    found = said(there, partition="gpu,long", time=minutes)
    assert bool(found) == bool(limit)
    assert all(f"but {limit}" in line and line.startswith("FAIL time: ") for line in found)


# ---- nodes ---------------------------------------------------------------------------------------

SIZES = [
    ({"cpus": 64, "mem": "500G", "gpus": 1}, 1, ""),
    ({"cpus": 65}, 1, "FAIL cpus: a job asks for 65 on a node, and the largest of gpu has 64"),
    ({"cpus": 20}, 4, "FAIL cpus: a job asks for 80 on a node"),
    ({"cpus": 20, "nodes": 2}, 4, ""),
    ({"cpus": 20, "workers_per_gpu": 4}, 1, "FAIL cpus: a job asks for 80 on a node"),
    ({"mem": "501G"}, 1, "FAIL mem: 501G (513024 MB) on a node, and the largest of gpu has 512000"),
    ({"mem": "1T"}, 1, "--mem 512000M or less"),
    ({"mem": "0"}, 1, ""),
    ({"mem": "200G", "workers_per_gpu": 4}, 1, "FAIL mem: 800G"),
    ({"gpus": "a100:1"}, 1, ""),
    ({"gpus": "a10:1"}, 1, "FAIL gpus: a job asks for a10:1, and gpu has GPUs of a100, v100; did"),
]


@pytest.mark.parametrize(("options", "processes", "expected"), SIZES, ids=range(len(SIZES)))
def test_more_than_the_largest_node_has(options, processes, expected):
    found = said(at(GPU), processes, **options)
    assert len(found) == bool(expected)
    assert all(expected in line for line in found)


def test_gpus_where_there_are_none():
    without = (Nodes("gpu", 64, 256000),)
    assert "and gpu has none; another --partition" in said(at(GPU, nodes=without), gpus=1)[0]
    assert said(at(GPU, nodes=()), gpus=1, cpus=999) == []  # SLURM says nothing of its nodes


def test_partitions_that_are_shut_or_unknown():
    down, drained = Partition("gpu", state="DOWN"), Partition("gpu", state="DRAIN")
    assert said(at(down))[0].startswith(f"{WARN} partition gpu: down: no job starts now")
    assert said(at(drained))[0].startswith(f"{FAIL} partition gpu: drain: ")
    assert said(at(drained, LONG)) == []
    assert said(at(), partition="gpu,lang")[0].startswith(f"{FAIL} partition lang: none that you")
    assert "did you mean long?" in said(at(), partition="lang")[0]
    assert said(at())[0].startswith(f"{FAIL} partition: none is the default")


# ---- disks ---------------------------------------------------------------------------------------


def test_files_that_the_disk_cannot_hold(tmp_path, monkeypatch):
    class Full:
        f_files, f_favail = 100, 25

    class Silent:
        f_files, f_favail = 0, 0

    monkeypatch.setattr(os, "statvfs", lambda path: Full)
    assert disk.check_inodes(tmp_path, Need(2)) == []
    (found,) = disk.check_inodes(tmp_path, Need(3))
    assert found.level == FAIL
    assert found.message == "25 more files can be made; 3 runs need about 30"
    monkeypatch.setattr(os, "statvfs", lambda path: Silent)
    assert disk.check_inodes(tmp_path, Need(3)) == []


# ---- as typed ------------------------------------------------------------------------------------

REFUSED = [
    (["--partition", "short", "--time", "1:00:00"], "time: 60 minutes, but partition short allows"),
    (["--time", "UNLIMITED"], "time: no limit, but partition batch allows 1,440 minutes"),
    (["--mem", "600G"], "mem: 600G (614400 MB) on a node, and the largest of batch has 512000"),
    (["--cpus", "65"], "cpus: a job asks for 65 on a node"),
    (["--gpus", "h100:1"], "gpus: a job asks for h100:1, and batch has GPUs of a100"),
    (["--partition", "shrt"], "partition shrt: none that you can see; did you mean short?"),
]


@pytest.mark.parametrize(("flags", "expected"), REFUSED, ids=range(len(REFUSED)))
def test_what_would_never_start_is_refused_before_sbatch(fake, place, flags, expected):
    called = submit(place, *flags)
    assert called.code == 2
    assert called.err.startswith(f"error: {expected}")
    assert called.err.endswith("(nothing was submitted)\n")
    assert called.err.count("\n") == 1
    assert fake.calls("sbatch") == []
    shown = submit(place, "--dry-run", *flags)
    assert (shown.code, shown.err.startswith(f"note: {expected}")) == (0, True)


def test_a_limit_of_a_quality_of_service_counts_too(fake, place):
    fake.set(more={"batch*": {"QoS": "part"}}, qos=[{"name": "part", "maxwall": "00:30:00"}])
    called = submit(place, "--time", "31")
    assert (called.code, fake.calls("sbatch")) == (2, [])
    assert "but the quality of service part allows 30 minutes" in called.err
    assert submit(place, "--time", "30").code == 0


def test_a_predicted_time_is_cut_with_a_word(fake, done):
    fake.set(more={"batch*": {"QoS": "part"}}, qos=[{"name": "part", "maxwall": "00:10:00"}])
    for path in (done.runs / "fake").rglob("result.json"):
        if path.parent.name.startswith("1-"):
            path.unlink()
    called = submit(done)
    assert "1 job may need more than 10 minutes, the longest that is allowed here" in called.out
    assert fake.jobs[0]["options"]["time"] == "10"
    assert "may need more than" not in submit(done, "--dry-run", "--time", "5").out


def test_a_user_without_an_account(fake, place):
    fake.set(associations=[["group"]], config={"AccountingStorageEnforce": "associations"})
    assert submit(place, "--account", "grp", "--dry-run").code == 0
    called = submit(place, "--account", "grp")
    assert called.code == 2
    assert "account: " in called.err and "may not use 'grp'; did you mean group?" in called.err
    assert submit(place, "--account", "group").code == 0


def test_only_what_is_bad_is_printed_and_it_takes_no_time(fake, place):
    begin = time.process_time()
    assert check(at(GPU), SlurmOptions(), 1, place.runs, Need(5, 10, 10)) == []
    assert time.process_time() - begin < 0.3
    called = submit(place)
    assert (called.code, called.err) == (0, "")
    assert len(fake.calls()) <= 9  # there were 12 before


def test_nothing_is_checked_where_nothing_is_sent(fake, done):
    before = sending.cli.listing(done.folder)
    assert "nothing to send" in submit(done, "--time", "9-0").out
    assert sending.cli.listing(done.folder) == before
