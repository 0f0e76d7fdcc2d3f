"""Clusters that tests start side by side do not meet."""

from __future__ import annotations

import pytest

from tests.slurm import dev_cluster


def test_ports_are_given_once_and_only_where_nothing_listens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dev_cluster, "PORTS", range(20_000, 20_080, 40))
    monkeypatch.setattr(dev_cluster, "_given", set())
    monkeypatch.setattr(dev_cluster, "_listens", lambda port: port == 20_011)  # a node of another
    assert dev_cluster._free_port() == 20_040
    with pytest.raises(dev_cluster.FaultError, match="no free ports from 20000 to 20080"):
        dev_cluster._free_port()
