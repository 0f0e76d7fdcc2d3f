"""What the cluster allows: limits of time, and how many jobs a user may have."""

from __future__ import annotations

import pytest

from experiments.cluster import policies, preview, sbatch, site
from experiments.matrix.slurm_options import SlurmOptions


def of(**options) -> site.Site:
    return site.of(SlurmOptions(**options))


def room(**options) -> int | None:
    return policies.room(of(**options), policies.Counter().jobs)


def queued(folder, count: int, **options) -> None:
    about = {"options": SlurmOptions(**options), "minutes": 5, "code": folder}
    sbatch.send(folder, name="other", tasks=count, **about)


# ---- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("partition", "shortest", "longest"),
    [
        (None, 1440, 1440),
        ("batch", 1440, 1440),
        ("short", 30, 30),
        ("endless", None, None),
        ("short,batch", 30, 1440),
        ("short,endless", 30, None),
        ("nowhere", None, None),
    ],
)
def test_the_longest_job_of_partitions(fake, partition, shortest, longest):
    found = of(partition=partition)
    assert (found.shortest and found.shortest[0]) == shortest
    assert (found.longest and found.longest[0]) == longest


def test_a_job_has_to_fit_into_every_partition_where_slurm_says_so(fake):
    fake.set(config={"EnforcePartLimits": "ALL"})
    assert of(partition="short,batch").longest[0] == 30


@pytest.mark.parametrize(
    ("own", "of_qos", "of_part", "expected"),
    [
        ("", "", "", (1440, "partition batch")),
        ("02:00:00", "", "", (120, "your association with account group")),
        ("02:00:00", "03:00:00", "", (180, "the quality of service normal")),
        ("02:00:00", "03:00:00", "04:00:00", (240, "the quality of service part")),
        ("", "2-00:00:00", "", (1440, "partition batch")),
    ],
    ids=range(5),
)
def test_the_first_limit_that_slurm_finds_counts(fake, own, of_qos, of_part, expected):
    """The partition's quality of service, the job's, the association: as its manual says."""
    fake.set(
        more={"batch*": {"QoS": "part"}},
        associations=[{"account": "group", "maxwall": own}],
        qos=[{"name": "normal", "maxwall": of_qos}, {"name": "part", "maxwall": of_part}],
    )
    assert of().longest == expected


def test_a_quality_of_service_may_lift_a_partitions_limit(fake):
    fake.set(qos=[{"name": "normal", "flags": "PartitionTimeLimit"}])
    assert of().longest is None


# ---- jobs ----------------------------------------------------------------------------------------

ROW = {"account": "group", "defaultqos": "normal"}


@pytest.mark.parametrize(
    ("associations", "qos", "asked", "limit"),
    [
        ([ROW], [["normal", "", ""]], {}, None),
        ([{**ROW, "maxsubmitjobs": "50"}], [["normal", "", ""]], {}, 50),
        ([{**ROW, "maxsubmitjobs": "50", "grpsubmitjobs": "30"}], [["normal"]], {}, 30),
        ([{**ROW, "maxsubmitjobs": "50"}], [["normal", "20", ""]], {}, 20),
        ([{**ROW, "maxsubmitjobs": "3"}], [["normal", "6", ""]], {}, 6),  # as SLURM does
        ([{**ROW, "maxsubmitjobs": "50"}], [["normal", "", "40"]], {}, 40),
        ([ROW], [["normal", "9", ""], ["long", "7", ""]], {"qos": "long"}, 7),
        ([{**ROW, "defaultqos": "long"}], [["normal", "9", ""], ["long"]], {}, None),
        ([ROW], [{"name": "normal", "grpsubmitjobs": "11"}], {}, 11),
        ([["a", "", "5", ""], ["b", "", "8", ""]], [["normal"]], {"account": "b"}, 8),
        ([["a", "", "5", ""], ["b", "", "4", ""]], [["normal"]], {}, 5),  # a is the default
        ([["a", "", "5", ""], {"account": "a", "cluster": "x", "maxsubmitjobs": "2"}], [], {}, 5),
        ([["a"], {"account": "a", "partition": "short", "maxsubmitjobs": "2"}], [], {}, None),
        (
            [["a"], {"account": "a", "partition": "short", "maxsubmitjobs": "2"}],
            [],
            {"partition": "short"},
            2,
        ),
        ([["a"], {"account": "a", "user": "", "grpsubmitjobs": "12"}], [], {}, 12),
        ([], [["normal", "", ""]], {}, None),
    ],
    ids=range(16),
)
def test_how_many_jobs_a_user_may_have(fake, associations, qos, asked, limit):
    fake.set(associations=associations, qos=qos)
    assert room(**asked) == limit


def test_limits_of_a_partitions_quality_of_service(fake, tmp_path):
    fake.set(
        more={"short": {"QoS": "part"}}, qos=[["normal", "9", ""], ["part", "2", ""]], limit=None
    )
    assert (room(), room(partition="short")) == (9, 2)
    queued(tmp_path, 1, partition="short")
    assert room(partition="short") == 1
    fake.set(
        qos=[{"name": "normal", "maxsubmitjobsperuser": "9", "flags": "OverPartQOS"}, ["part", "2"]]
    )
    assert room(partition="short") == 8


def test_jobs_elsewhere_leave_a_limit_alone(fake, tmp_path):
    fake.set(associations=[["a", "", "5", ""], ["b", "", "8", ""]])
    queued(tmp_path, 3, account="b")
    assert (room(), room(account="b")) == (5, 5)


def test_an_account_of_the_shell_is_the_one_that_counts(fake, monkeypatch):
    fake.set(associations=[["a", "", "5", ""], ["b", "", "8", ""]])
    monkeypatch.setenv("SBATCH_ACCOUNT", "b")
    assert room() == 8


@pytest.mark.parametrize(
    ("enforced", "limit"),
    [("associations,limits,qos", 5), ("safe", 5), ("associations", None), ("none", None)],
)
def test_limits_count_where_slurm_enforces_them(fake, enforced, limit):
    fake.set(config={"AccountingStorageEnforce": enforced}, associations=[["a", "", "5", ""]])
    assert room() == limit


def test_without_accounting_there_is_no_such_limit(fake):
    fake.set(accounting=False, associations=[["group", "normal", "5", ""]])
    assert room() is None
    assert of().longest == (1440, "partition batch")


def test_no_more_calls_than_needed(fake):
    preview.limits(SlurmOptions())
    assert [call[0] for call in fake.calls()] == [
        *["scontrol", "scontrol", "sinfo"],
        *["sacctmgr", "sacctmgr", "sacctmgr"],
    ]
    assert not fake.calls("squeue")
