"""Every fault once, on development clusters of these tests' own: nobody else's is disturbed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.slurm import dev_cluster, faults, matrices
from tests.slurm.faults import Fault
from tests.slurm.outcomes import References
from tests.slurm.verdict import Verdict, play

SEED = "1"  # of the moments; tools/reports/slurm_faults.py draws others
SIDE_BY_SIDE = 8  # most of a scenario's time is waiting

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]


@pytest.fixture(autouse=True)
def can_be_started() -> None:
    if "KD_FAULTS" not in os.environ:
        pytest.skip(
            "takes both cores for many minutes: KD_FAULTS=1, or tools/reports/slurm_faults.py"
        )
    reason = dev_cluster.missing()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> References:
    return References(tmp_path_factory.mktemp("undisturbed"))


def complaints(found: Sequence[Fault], one: Callable[[Fault], Verdict]) -> str:
    """Play them side by side; everything about those that did not end well."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        verdicts = list(pool.map(one, found))
    return "\n\n".join(str(verdict) for verdict in verdicts if not verdict.is_good)


def test_faults_of_jobs_submitters_disks_and_teachers(
    references: References, tmp_path: Path
) -> None:
    with dev_cluster.running() as cluster:

        def one(fault: Fault) -> Verdict:
            return play(fault, cluster, tmp_path / fault.name, SEED, matrices.QUICK, references)

        said = complaints([fault for fault in faults.ALL if not fault.disturbs], one)
    assert not said, said


def test_faults_that_disturb_a_whole_cluster(references: References, tmp_path: Path) -> None:
    def one(fault: Fault) -> Verdict:
        with dev_cluster.running(fault.clusters) as cluster:
            return play(fault, cluster, tmp_path / fault.name, SEED, matrices.QUICK, references)

    said = complaints([fault for fault in faults.ALL if fault.disturbs], one)
    assert not said, said
