"""SLURM: does it answer, would it take our jobs, and what happens to them there."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments import slurm
from experiments.cluster import sbatch
from experiments.doctor.finding import FAIL, OK, WARN, Finding
from experiments.environment import CHECKOUT
from experiments.matrix.slurm_options import SlurmOptions, minutes
from models.registry import near

COMMANDS = ("sbatch", "squeue", "scontrol", "scancel", "sinfo", "srun")


def commands(which: Callable[[str], str | None] = shutil.which) -> Finding:
    """Whether this is a machine from which jobs can be sent."""
    missing = [name for name in COMMANDS if which(name) is None]
    if not missing:
        return Finding(OK, "SLURM", f"commands in {Path(which('sbatch') or '').parent}")
    if len(missing) == len(COMMANDS):
        mend = "`submit` needs a cluster's login node (perhaps `module load slurm`); `run` does not"
        return Finding(WARN, "SLURM", "none of its commands here", mend)
    mend = "the administrators: these belong to the same package as the others"
    return Finding(FAIL, "SLURM", f"not found: {', '.join(missing)}", mend)


def controller(environ: Mapping[str, str] = os.environ) -> Finding:
    """Whether SLURM's controller answers, and which SLURM it is."""
    named = environ.get("SLURM_CONF")
    if named and not Path(named).is_file():
        mend = "unset SLURM_CONF, or let it name the cluster's slurm.conf"
        return Finding(FAIL, "SLURM controller", f"SLURM_CONF={named}: no such file", mend)
    mend = (
        "wait and look again, then ask the administrators; jobs that run already need no controller"
    )
    try:
        answers = slurm.call("scontrol", "ping").splitlines()
        config = slurm.config()
    except slurm.SlurmError as error:
        said = str(error).partition("; **")[0]
        if "munge" in said.lower() or "authentication" in said.lower():
            mend = "the administrators: munge's daemon, its key, or this machine's clock"
        if "configuration" in said.lower():
            said = f"no usable configuration ({said.rpartition('; ')[2]})"
            mend = "SLURM_CONF=/path/to/the/cluster's/slurm.conf, or its module; `run` needs none"
        return Finding(FAIL, "SLURM controller", said, mend)
    cluster = f"cluster {config.get('ClusterName')}, SLURM {config.get('SLURM_VERSION')}"
    return Finding(OK, "SLURM controller", f"{'; '.join(map(str.strip, answers))} ({cluster})")


# ---- where jobs go -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Partition:
    """A line of sinfo; ``minutes`` None where jobs are not limited, ``up`` nodes of ``nodes``."""

    name: str
    default: bool
    state: str
    minutes: int | None
    up: int
    nodes: int
    preemption: str

    def __str__(self) -> str:
        limit = "no limit" if self.minutes is None else f"{self.minutes / 60:g} h"
        state = "" if self.state == "up" else f", {self.state}"
        nodes = f"{self.up} of {self.nodes} nodes up"
        return f"{self.name}{' (default)' * self.default}: {limit}, {nodes}{state}"


def look_for_partitions() -> list[Partition]:
    """Those that the user can see. Raises SlurmError."""
    return partitions(slurm.call("sinfo", "-h", "-o", "%P|%a|%l|%F|%M"))


def partitions(table: str) -> list[Partition]:
    """``table`` holds a line of name, state, limit, nodes (A/I/O/T) and pre-emption for each."""
    found = []
    for line in table.splitlines():
        name, state, limit, nodes, preemption = line.strip().split("|")
        allocated, idle, _, total = (_number(part) for part in nodes.split("/"))
        found.append(
            Partition(
                name.rstrip("*"),
                name.endswith("*"),
                state,
                _limit(limit),
                allocated + idle,
                total,
                preemption,
            )
        )
    return found


def _number(text: str) -> int:
    """ "1.2K" stands for many nodes."""
    return round(float(text[:-1]) * 1000) if text.endswith("K") else int(text)


def _limit(text: str) -> int | None:
    try:
        return minutes(text)
    except ValueError:  # "infinite"
        return None


def chosen(found: Sequence[Partition], options: SlurmOptions) -> list[Partition]:
    """The partitions that jobs go to; an unknown name is left out."""
    if options.partition is None:
        return [p for p in found if p.default]
    names = options.partition.split(",")
    return [p for p in found if p.name in names]


def partition(found: Sequence[Partition], options: SlurmOptions) -> list[Finding]:
    """Whether the chosen partitions, or the default one, are there and work."""
    if not found:
        mend = "ask the administrators which partitions your account may use"
        return [Finding(FAIL, "partitions", "none that you can see", mend)]
    asked = options.partition.split(",") if options.partition else []
    known = [p.name for p in found]
    findings = [
        Finding(FAIL, f"partition {name}", f"not here, or not for you: {near(name, known)}")
        for name in asked
        if name not in known
    ]
    if not asked and not chosen(found, options):
        mend = f"--partition, or `partition:` in the matrix' slurm: or the site file: {known}"
        findings.append(Finding(FAIL, "partition", "none is the default, none was chosen", mend))
    findings += [_partition(p, options.time) for p in chosen(found, options)]
    rest = [str(p) for p in found if p not in chosen(found, options)]
    if rest:
        findings.append(Finding(OK, "other partitions", "; ".join(rest)))
    return findings


def _partition(p: Partition, time: int | None) -> Finding:
    what, found = f"partition {p.name}", str(p).partition(": ")[2]
    if p.state != "up":
        mend = "another partition, or wait: this one starts no jobs now"
        return Finding(FAIL, what, found, mend)
    if not p.up:
        return Finding(FAIL, what, found, "another partition: jobs would wait until a node is back")
    if time and p.minutes and time > p.minutes:
        mend = f"--time {p.minutes} or less; jobs that reach their limit go on in the next start"
        return Finding(FAIL, what, f"{found}, but jobs ask for {time / 60:g} h", mend)
    return Finding(OK, what, found)


def preemption(p: Partition, config: Mapping[str, str]) -> Finding:
    """What becomes of jobs that others push out, or that end at their time limit.

    JobRequeue = 0 is no hindrance: --requeue, which submit always gives, wins (SLURM 22.05).
    """
    what, kill = "requeue", config.get("KillWait", "?")
    pushed = config.get("PreemptType", "preempt/none") != "preempt/none"
    kept = f"jobs get {kill} between SIGTERM and SIGKILL, and are put back into the queue"
    if pushed and p.preemption == "CANCEL":
        mend = "the next `submit` goes on from what was saved (`--save-minutes`: how often)"
        return Finding(WARN, what, f"jobs pushed out of {p.name} are cancelled, not requeued", mend)
    return Finding(OK, what, f"{kept} (JobRequeue {config.get('JobRequeue', '?')})")


# ---- who asks ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Association:
    """A line of sacctmgr: the user may charge an account on a cluster."""

    cluster: str
    account: str


def look_for_associations() -> list[Association]:
    """The user's. Raises SlurmError where there is no accounting, or it does not answer."""
    command = ["sacctmgr", "-n", "-P", "show", "assoc", f"user={slurm.user()}"]
    lines = slurm.call(*command, "format=cluster,account").split()
    return [Association(*line.split("|")[:2]) for line in lines if "|" in line]


def account(found: list[Association], options: SlurmOptions, config: Mapping[str, str]) -> Finding:
    """Whether the user may send jobs here, and on whose account."""
    here = config.get("ClusterName", "").lower()
    mine = sorted({a.account.lower() for a in found if a.cluster.lower() == here})
    enforced = "associations" in config.get("AccountingStorageEnforce", "")
    user = slurm.user()
    if enforced and not mine:
        mend = f"the administrators: `sacctmgr add user {user} account=NAME`"
        return Finding(
            FAIL, "account", f"{user} has none on this cluster, which asks for one", mend
        )
    if enforced and options.account and options.account.lower() not in mine:
        said = f"{options.account!r} is none of {user}'s: {near(options.account, mine)}"
        return Finding(FAIL, "account", said, "`account:` in the matrix' slurm: or the site file")
    listed = f"{user} has {', '.join(mine)}" if mine else "this cluster asks for none"
    used = options.account or "the user's default one"
    return Finding(OK, "account", f"{listed}; jobs take {used}")


def trial(options: SlurmOptions) -> Finding:
    """Let sbatch judge a job with these options without sending it (--test-only)."""
    with tempfile.TemporaryDirectory(prefix="kd-doctor-") as folder:
        text = sbatch.script(
            Path(folder),
            name="kd-doctor",
            tasks=1,
            options=options,
            minutes=options.time,
            after=None,
            code=CHECKOUT,
        )
        script = Path(folder) / "script.sh"
        script.write_text(text)
        said, taken = _judged(script, options)
    if taken:
        return Finding(OK, "a job like ours", f"sbatch would take it: {said}")
    if re.search(r"Submit\w*Limit", said):
        mend = "when fewer of your jobs are in the queue, the next `submit` sends more"
        return Finding(WARN, "a job like ours", f"not now: {said}", mend)
    mend = "its options: --partition, --account, ..., the matrix' slurm: block, the site file"
    return Finding(FAIL, "a job like ours", f"sbatch would refuse it: {said}", mend)


def _judged(script: Path, options: SlurmOptions) -> tuple[str, bool]:
    """sbatch's words on a script, and whether they are a yes; with the environment of `submit`."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM_", "SBATCH_"))
    } | sbatch.handed_on(options)
    done = subprocess.run(
        ["sbatch", "--test-only", str(script)],
        capture_output=True,
        text=True,
        timeout=slurm.TIMEOUT,
        env=ours,
    )
    said = slurm.one_line(done.stderr or done.stdout)
    said = said.removeprefix("sbatch: ").replace("allocation failure: ", "")
    return said, done.returncode == 0


# ---- how many ------------------------------------------------------------------------------------


def arrays(config: Mapping[str, str], options: SlurmOptions) -> Finding:
    """MaxArraySize."""
    size = int(config.get("MaxArraySize", "1001"))
    if size < 2:
        mend = "the administrators: `submit` sends arrays, which MaxArraySize 0 forbids"
        return Finding(FAIL, "arrays", f"MaxArraySize {size}", mend)
    own = options.max_array_size
    if own and own > size:
        mend = f"max_array_size: {size} or less in the site file"
        return Finding(FAIL, "arrays", f"max_array_size {own}, MaxArraySize {size}", mend)
    used = min(size, own or size)
    return Finding(OK, "arrays", f"up to {used} jobs each (MaxArraySize {size})")


def room(queued: int, limit: int | None, options: SlurmOptions) -> Finding:
    """How many more jobs may be sent now."""
    caps = [cap for cap in (limit, options.max_jobs) if cap is not None]
    if not caps:
        return Finding(OK, "jobs", f"{queued} of yours in the queue; no limit for you is known")
    found = f"{queued} of yours in the queue, of at most {min(caps)}"
    if queued < min(caps):
        return Finding(OK, "jobs", found)
    mend = "wait until some have ended; `submit` sends as many as fit and says what is left"
    if not min(caps):
        mend = "the administrators: your limit lets you send none at all"
    return Finding(WARN, "jobs", found, mend)


def look_for_room(options: SlurmOptions) -> Finding:
    """Ask for both numbers."""
    return room(slurm.mine(), slurm.submit_limit(options.account, options.qos), options)


def accounting() -> Finding:
    """Whether sacct answers; nothing but what `status` can say of ended jobs hangs on it."""
    try:
        slurm.call("sacct", "-X", "-n", "-P", "-S", "now", "-o", "JobID")
    except slurm.SlurmError as error:
        mend = "nothing to do: `status` cannot say how jobs that are gone ended, that is all"
        return Finding(WARN, "accounting", str(error), mend)
    return Finding(OK, "accounting", "sacct answers")


# ---- this shell ----------------------------------------------------------------------------------


def shell(environ: Mapping[str, str] = os.environ) -> list[Finding]:
    """Variables of this shell that make a difference."""
    findings = []
    if "SLURM_JOB_ID" in environ:
        found = f"inside SLURM's job {environ['SLURM_JOB_ID']}, whose limits hold for `run`"
        mend = "`submit` is for a login node's shell; `doctor` there sees what submit will see"
        findings.append(Finding(WARN, "this shell", found, mend))
    defaults = {f"SBATCH_{name.upper()}" for name in sbatch.DEFAULTS}
    given = sorted(n for n in environ if n.startswith("SBATCH_") and n not in defaults)
    if given:
        mend = "`submit` does not read them: put their values into the site file"
        findings.append(Finding(WARN, "this shell", f"sets {', '.join(given)}", mend))
    return findings


def nodes_are_elsewhere() -> bool:
    """Whether jobs may run on other machines than this one. Raises SlurmError."""
    hosts = {host.partition(".")[0] for host in slurm.call("sinfo", "-h", "-o", "%n").split()}
    return hosts != {socket.gethostname().partition(".")[0]}
