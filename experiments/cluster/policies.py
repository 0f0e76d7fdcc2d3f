"""What limits a user's jobs: associations and qualities of service, in SLURM's own order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from experiments import slurm
from experiments.cluster import addresses
from experiments.matrix.slurm_options import SlurmOptions

if TYPE_CHECKING:
    from experiments.cluster.site import Site

Row = Mapping[str, str]

_NUMBERS = ("maxsubmitjobs", "grpsubmitjobs", "maxwall")
_OWN = ("defaultaccount", "cluster", "account", "partition", "defaultqos", *_NUMBERS)
_OF_QOS = ("name", "maxsubmitjobsperuser", "grpsubmitjobs", "maxsubmitjobsperaccount", "maxwall")


def asked(options: SlurmOptions, key: str) -> str | None:
    """An option of a job: as given, or as the shell's variable for sbatch has it."""
    value = getattr(options, key, None) or os.environ.get(f"SBATCH_{key.upper()}")
    return str(value) if value else None


def addressed(options: SlurmOptions) -> str | None:
    """The cluster that the options name, if they name just one."""
    names = addresses.clusters(options)
    return names[0] if len(names) == 1 and names[0] != addresses.EVERY else None


def on(cluster: str | None) -> list[str]:
    """The flags that address a cluster other than this machine's."""
    return ["-M", cluster] if cluster else []


def of(options: SlurmOptions, of_partitions: Sequence[str], cluster: str | None) -> Iterable[Row]:
    """What limits these jobs, in the order in which SLURM asks: where one says something, the next
    are not asked. The partitions' quality of service, the job's, the user's association (of this
    cluster and account, and of the partition, if there is one), its account's.

    None where there is no accounting.
    """
    try:
        own = _association(_table(["user", slurm.user(), "withassoc"], _OWN), options, cluster)
        name = asked(options, "qos") or own.get("defaultqos") or "normal"
        services = {row["name"]: row for row in _table(["qos"], (*_OF_QOS, "flags"))}
        account = _account(own)
    except slurm.SlurmError:
        return []
    first = [services[qos] for qos in of_partitions if qos in services]
    second = [services[name]] if name in services else []
    if any(has_flag(row, "overpartqos") for row in second):
        first, second = second, first
    named = [{**row, "what": f"the quality of service {row['name']}"} for row in [*first, *second]]
    return [*named, own, account]


def _table(what: Sequence[str], columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of `sacctmgr show`, by column; what a site prints besides has spaces at its bars."""
    command = ["sacctmgr", "-n", "-P", "show", *what, f"format={','.join(columns)}"]
    rows = (line.split("|") for line in slurm.call(*command).splitlines())
    tidy = (row for row in rows if row == [cell.strip() for cell in row])
    return [dict(zip(columns, row, strict=True)) for row in tidy if len(row) == len(columns)]


def _association(rows: list[dict[str, str]], options: SlurmOptions, cluster: str | None) -> Row:
    """The association that these jobs are charged to; empty if there is none."""
    here = (cluster or slurm.cluster() or "").lower()
    rows = [row for row in rows if row["cluster"].lower() == here]
    account = asked(options, "account") or next((row["defaultaccount"] for row in rows), "")
    rows = [row for row in rows if row["account"].lower() == account.lower()]
    names = (asked(options, "partition") or "").split(",")
    fitting = [row for row in rows if row["partition"] in names] or rows
    found = next((row for row in fitting if row["partition"] in (*names, "")), {})
    return {**found, "what": f"your association with account {account}"}


def _account(own: Row) -> Row:
    """The account's own limits, which its users share."""
    if not own.get("account"):
        return {}
    where = ["assoc", f"cluster={own['cluster']}", f"account={own['account']}"]
    rows = _table(where, ("user", "grpsubmitjobs", "maxsubmitjobs", "maxwall"))
    found = next((row for row in rows if not row["user"]), {})
    kept = {key: value for key, value in found.items() if key in ("grpsubmitjobs", "maxwall")}
    return {**kept, "what": f"the account {own['account']}", "of_account": own["account"]}


def has_flag(row: Row, name: str) -> bool:
    """Whether a quality of service has a flag, such as partitiontimelimit."""
    return name in row.get("flags", "").lower()


# ---- how many jobs may still be sent -------------------------------------------------------------


@dataclass
class Counter:
    """Counts jobs in the queue, array tasks one by one; each kind is asked for once."""

    cluster: str | None = None
    _known: dict[tuple[str, ...], int] = field(default_factory=dict)

    def jobs(self, *which: str) -> int:
        """The number of jobs that squeue shows with these flags."""
        if which not in self._known:
            command = ["squeue", *on(self.cluster), "-h", "-r", *which, "-o", "%i"]
            rows = [line for line in slurm.call(*command).splitlines() if line[:1].isdigit()]
            self._known[which] = len(rows)
        return self._known[which]


def room(site: Site, count: Callable[..., int]) -> int | None:
    """How many jobs the user's limits still admit; None without a limit.

    ``count`` counts the jobs in the queue with flags of squeue. Others' jobs may be hidden: sbatch
    has the last word.
    """
    if not site.has_limits:
        return None
    me = ("-u", slurm.user())
    free = [_bounds(site, key, count, me) for key in ("user", "account", "group")]
    return min((max(0, left) for left in free if left is not None), default=None)


def _bounds(site: Site, kind: str, count: Callable[..., int], me: tuple[str, ...]) -> int | None:
    """What the first policy with a limit of a kind leaves."""
    keys = {
        "user": ("maxsubmitjobsperuser", "maxsubmitjobs"),
        "account": ("maxsubmitjobsperaccount",),
        "group": ("grpsubmitjobs",),
    }[kind]
    for policy in site.policies:
        limit = next((policy[key] for key in keys if policy.get(key, "").isdigit()), None)
        if limit is not None:
            return int(limit) - count(*_counted(site, policy, kind, me))
    return None


def _counted(site: Site, policy: Row, kind: str, me: tuple[str, ...]) -> tuple[str, ...]:
    """The flags of squeue for the jobs that a limit is about."""
    account = next((p["account"] for p in site.policies if p.get("account")), "")
    if "name" in policy:  # a quality of service; one of a partition counts its jobs
        parts = [part.name for part in site.partitions if part.qos == policy["name"]]
        where = ("-p", ",".join(parts)) if parts else ("-q", policy["name"])
        who = {"user": me, "account": ("-A", account), "group": ()}[kind]
        return (*who, *where)
    if "of_account" in policy:
        return ("-A", policy["of_account"])
    part = ("-p", policy["partition"]) if policy.get("partition") else ()
    return (*me, "-A", policy["account"], *part)
