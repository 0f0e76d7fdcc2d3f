"""What a cluster allows a job: its partitions, their nodes, and limits of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from experiments import slurm
from experiments.cluster import addresses, policies
from experiments.cluster.policies import Row, addressed, asked, has_flag, on
from experiments.matrix.slurm_grammar import UNLIMITED, minutes
from experiments.matrix.slurm_options import SlurmOptions


@dataclass(frozen=True)
class Partition:
    """A partition; ``longest`` and ``default`` minutes of a job, None without; its own ``qos``.

    state  UP; DOWN (jobs wait), DRAIN or INACTIVE (sbatch refuses them)
    """

    name: str
    is_default: bool = False
    state: str = "UP"
    longest: int | None = None
    default: int | None = None
    qos: str | None = None


@dataclass(frozen=True)
class Nodes:
    """Some equal nodes of a partition: each one's CPUs, megabytes, and types of GPU."""

    partition: str
    cpus: int
    megabytes: int
    gpus: frozenset[str] = frozenset()  # "" for one without a type


@dataclass(frozen=True)
class Site:
    """What applies to jobs with certain options.

    partitions  those that the options name, or the default one
    names       of all partitions
    nodes       theirs
    policies    where limits come from, in the order in which SLURM asks: see `policies.of`
    enforced    which of them SLURM holds jobs to (AccountingStorageEnforce); "" if it says nothing
    all_parts   whether a job must fit into every partition that it names (EnforcePartLimits=ALL)
    """

    partitions: tuple[Partition, ...] = ()
    names: tuple[str, ...] = ()
    nodes: tuple[Nodes, ...] = ()
    policies: tuple[Row, ...] = ()
    enforced: str = ""
    all_parts: bool = False

    @property
    def has_limits(self) -> bool:
        """Whether SLURM holds jobs to the limits of associations and qualities of service."""
        return not self.enforced or "limits" in self.enforced or "safe" in self.enforced

    @property
    def default(self) -> int | None:
        """The minutes of a job that asks for none."""
        known = [part.default for part in self.partitions if part.default is not None]
        return min(known, default=None)

    @property
    def shortest(self) -> tuple[int, str] | None:
        """The minutes that a job may have anywhere, and who says so; None without a limit."""
        return self._limit(min)

    @property
    def longest(self) -> tuple[int, str] | None:
        """The minutes above which no job starts, and who says so; None without a limit."""
        return self.shortest if self.all_parts else self._limit(max)

    def _limit(self, choose: Callable[..., float]) -> tuple[int, str] | None:
        bounds = [self._wall()] if self._wall() else []
        if self.partitions and not any(has_flag(p, "partitiontimelimit") for p in self.policies):
            chosen = choose(part.longest or UNLIMITED for part in self.partitions)
            names = ",".join(part.name for part in self.partitions)
            if chosen < UNLIMITED:
                bounds.append((int(chosen), f"partition {names}"))
        return min((bound for bound in bounds if bound), default=None)

    def _wall(self) -> tuple[int, str] | None:
        """The limit of the first policy that has one: SLURM asks them in this order."""
        found = (p for p in self.policies if self.has_limits and p.get("maxwall"))
        return next(((minutes(p["maxwall"]), p["what"]) for p in found), None)


def of(options: SlurmOptions) -> Site:
    """What applies to jobs with these options; nothing is known where sbatch chooses a cluster.

    Raises SlurmError where SLURM does not answer.
    """
    cluster = addressed(options)
    if cluster is None and addresses.clusters(options):
        return Site()
    known = _partitions(cluster)
    parts = _chosen(known, asked(options, "partition"))
    names = {part.name for part in parts}
    config = slurm.config()
    return Site(
        partitions=parts,
        names=tuple(part.name for part in known),
        nodes=tuple(found for found in _nodes(cluster) if found.partition in names),
        policies=tuple(policies.of(options, [p.qos for p in parts if p.qos], cluster)),
        enforced=config.get("AccountingStorageEnforce", ""),
        all_parts=config.get("EnforcePartLimits") == "ALL",
    )


# ---- partitions and nodes ------------------------------------------------------------------------


def _partitions(cluster: str | None) -> list[Partition]:
    command = ["scontrol", *on(cluster), "-a", "--oneliner", "show", "partition"]
    lines = slurm.call(*command).splitlines()
    return [_partition(line) for line in lines if line.startswith("PartitionName=")]


def _partition(line: str) -> Partition:
    pairs = (word.partition("=") for word in line.split())
    values = {key: value for key, _, value in pairs}
    return Partition(
        values["PartitionName"],
        values.get("Default") == "YES",
        values.get("State", "UP"),
        _time(values.get("MaxTime")),
        _time(values.get("DefaultTime")),
        None if values.get("QoS") in (None, "", "N/A") else values["QoS"],
    )


def _time(text: str | None) -> int | None:
    """Minutes; None for "UNLIMITED", "NONE" and the like."""
    return minutes(text) if text and text[0].isdigit() else None


def _chosen(partitions: Sequence[Partition], names: str | None) -> tuple[Partition, ...]:
    """Those of "a,b", as far as they exist; the default one without a choice."""
    if names is None:
        return tuple(part for part in partitions if part.is_default)
    return tuple(part for part in partitions if part.name in names.split(","))


def _nodes(cluster: str | None) -> list[Nodes]:
    table = slurm.call("sinfo", *on(cluster), "-h", "-a", "-e", "-o", "%R|%c|%m|%G")
    rows = [line.strip().split("|") for line in table.splitlines()]
    return [_node(*row) for row in rows if len(row) == 4 and row[1].isdigit() and row[2].isdigit()]


def _node(partition: str, cpus: str, megabytes: str, gres: str) -> Nodes:
    """ "gpu:a100:4(S:0-1),gpu:2" has typed GPUs, and others."""
    words = (part.partition("(")[0].split(":") for part in gres.split(","))
    gpus = frozenset(w[1] if len(w) == 3 else "" for w in words if w[0] == "gpu")
    return Nodes(partition, int(cpus), int(megabytes), gpus)
