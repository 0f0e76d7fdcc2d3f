"""SLURM: does it answer, and would it accept our jobs?"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from experiments import slurm
from experiments.cluster import sbatch
from experiments.cluster.policies import on
from experiments.doctor.finding import FAIL, OK, WARN, Finding
from experiments.environment import CHECKOUT
from experiments.matrix.slurm_grammar import minutes
from experiments.matrix.slurm_options import SlurmOptions
from experiments.wording import plural
from models.registry import near


def check_controller() -> Finding:
    """Whether SLURM's commands are here and its controller answers."""
    if not slurm.is_here():
        fix = "`submit` needs a cluster's login node (perhaps `module load slurm`); `run` does not"
        return Finding(WARN, "SLURM", "sbatch not found", fix)
    try:
        answer = slurm.one_line(slurm.call("scontrol", "ping"))
        config = slurm.config()
    except slurm.SlurmError as error:
        fix = "wait and try again; then check SLURM_CONF and munge, or ask the administrators"
        message = str(error).partition("; **")[0]  # scontrol underlines it with asterisks
        return Finding(FAIL, "SLURM", message, fix)
    cluster = f"cluster {config.get('ClusterName')}, SLURM {config.get('SLURM_VERSION')}"
    return Finding(OK, "SLURM", f"{cluster}; {answer}")


# ---- partitions ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Partition:
    """A line of sinfo; ``minutes`` None if jobs have no limit, ``up`` of ``nodes`` nodes work."""

    name: str
    state: str
    minutes: int | None
    up: int
    nodes: int

    def __str__(self) -> str:
        limit = "no limit" if self.minutes is None else f"{self.minutes / 60:g} h"
        state = "" if self.state == "up" else f", {self.state}"
        return f"{limit}, {self.up} of {plural(self.nodes, 'node')} up{state}"


def read_partitions(cluster: str | None = None) -> list[Partition]:
    """The partitions that the user can see, here or on another cluster. Raises SlurmError."""
    table = slurm.call("sinfo", *on(cluster), "-h", "-o", "%P|%a|%l|%F")
    lines = [line for line in table.splitlines() if not line.startswith("CLUSTER:")]
    return [_parse(line) for line in lines]


def _parse(line: str) -> Partition:
    name, state, limit, nodes = line.strip().split("|")
    allocated, idle, _, total = map(_number, nodes.split("/"))
    longest = minutes(limit) if limit[:1].isdigit() else None  # else "infinite"
    return Partition(name.rstrip("*"), state, longest, allocated + idle, total)


def _number(text: str) -> int:
    """SLURM abbreviates many nodes: "1.2K"."""
    return round(float(text[:-1]) * 1000) if text.endswith("K") else int(text)


def check_partitions(
    partitions: Iterable[Partition], chosen: Collection[str], problems: Iterable[Finding]
) -> list[Finding]:
    """What stands in the way of jobs, as `submit` judges it, and what the partitions are.

    chosen    the names of those that jobs may start in
    problems  what `requests.problems` found; a partition that it names is not listed again
    """
    found = list(problems)
    named = {n for f in found for n in f.subject.removeprefix("partition ").split(",")}
    listed = [p for p in partitions if p.name not in named]
    found += [_described(p) for p in listed if p.name in chosen]
    others = [f"{p.name} ({p})" for p in listed if p.name not in chosen]
    if others:
        found.append(Finding(OK, "other partitions", "; ".join(others)))
    return found


def _described(partition: Partition) -> Finding:
    """Nodes come back: where none is up, jobs wait, as they do in a partition that is DOWN."""
    subject, is_up = f"partition {partition.name}", partition.state == "up" and partition.up
    fix = "" if is_up else "choose another partition, or wait: this one starts no jobs now"
    return Finding(OK if is_up else WARN, subject, str(partition), fix)


# ---- jobs ----------------------------------------------------------------------------------------


def check_account(options: SlurmOptions) -> Finding:
    """Whether the user may submit jobs, and on which account they are charged."""
    config, user = slurm.config(), slurm.user()
    command = ["sacctmgr", "-n", "-P", "show", "assoc", f"user={user}", "format=cluster,account"]
    try:
        rows = [line.lower().split("|") for line in slurm.call(*command).split()]
    except slurm.SlurmError as error:
        fix = "fine unless sbatch refuses jobs because of it"
        return Finding(WARN, "account", f"accounting did not answer: {error}", fix)
    accounts = sorted({row[1] for row in rows if row[0] == config.get("ClusterName", "").lower()})
    if "associations" in config.get("AccountingStorageEnforce", ""):
        if not accounts:
            fix = f"ask the administrators for `sacctmgr add user {user} account=NAME`"
            message = f"{user} has none on this cluster, which requires one"
            return Finding(FAIL, "account", message, fix)
        if options.account and options.account.lower() not in accounts:
            message = f"{user} may not use {options.account!r}"
            fix = (
                f"{near(options.account, accounts)}, see `account:` in the site file or the matrix"
            )
            return Finding(FAIL, "account", message, fix)
    listed = f"{user} has {', '.join(accounts)}" if accounts else "this cluster requires none"
    return Finding(OK, "account", f"{listed}; jobs use {options.account or 'the default'}")


def check_sbatch(options: SlurmOptions) -> Finding:
    """Let sbatch judge a job with these options without sending it (--test-only)."""
    message, is_accepted = _test_only(options)
    if is_accepted:
        return Finding(OK, "test job", f"sbatch would accept it: {message}")
    if re.search(r"Submit\w*Limit", message):
        fix = "wait until some of your jobs have ended; then `submit` sends more"
        return Finding(WARN, "test job", f"sbatch would not accept it now: {message}", fix)
    fix = "correct its options: --partition, the matrix's slurm: block, the site file"
    return Finding(FAIL, "test job", f"sbatch would refuse it: {message}", fix)


def _test_only(options: SlurmOptions) -> tuple[str, bool]:
    """sbatch's message, and whether it would accept a job; in the environment of `submit`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
    job = {"name": "kd-doctor", "tasks": 1, "after": None, "code": CHECKOUT}
    with tempfile.TemporaryDirectory(prefix="kd-doctor-") as folder:
        script = Path(folder) / "script.sh"
        text = sbatch.script(Path(folder), options=options, minutes=options.time, **job)
        script.write_text(text, encoding="utf-8")
        done = subprocess.run(
            ["sbatch", "--test-only", str(script)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=slurm.TIMEOUT,
            env=kept | sbatch.handed_on(options),
        )
    message = slurm.one_line(done.stderr or done.stdout)
    message = message.removeprefix("sbatch: ").replace("allocation failure: ", "")
    return message, done.returncode == 0


def is_only_node() -> bool:
    """Whether jobs can run on this machine only. Raises SlurmError."""
    hosts = {host.partition(".")[0] for host in slurm.call("sinfo", "-h", "-o", "%n").split()}
    return hosts == {socket.gethostname().partition(".")[0]}
