"""What jobs ask for, beside what the cluster has: requests that would wait for ever, or be refused.

With EnforcePartLimits=NO, SLURM accepts a job that no node or limit will ever let start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from experiments.cluster.policies import asked
from experiments.cluster.site import Nodes, Site
from experiments.doctor.finding import FAIL, WARN, Finding
from experiments.matrix.slurm_grammar import UNLIMITED, gpu_type, megabytes
from experiments.matrix.slurm_options import SlurmOptions
from experiments.wording import plural
from models.registry import near


def problems(there: Site, options: SlurmOptions, processes: int = 1) -> list[Finding]:
    """What stands in the way of jobs with these options; empty if nothing does. Pure.

    processes  of a job, spread over ``options.nodes``
    """
    return [
        *_partitions(there, options),
        *_time(there, options),
        *_sizes(there, options, processes // options.nodes),
    ]


def _partitions(there: Site, options: SlurmOptions) -> Iterator[Finding]:
    chosen = asked(options, "partition")
    for name in (chosen or "").split(","):
        if chosen and there.names and name not in there.names:
            fix = f"{near(name, there.names)} (or ask which ones your account may use)"
            yield Finding(FAIL, f"partition {name}", "none that you can see", fix)
    if not chosen and not there.partitions and there.names:
        fix = "choose one with --partition, or `partition:` in the matrix's slurm: or the site file"
        yield Finding(FAIL, "partition", "none is the default, none is chosen", fix)
    shut = [part for part in there.partitions if part.state != "UP"]
    if shut and len(shut) == len(there.partitions):
        level = WARN if any(part.state == "DOWN" for part in shut) else FAIL
        state = shut[0].state.lower()
        names = ",".join(part.name for part in shut)
        yield Finding(
            level, f"partition {names}", f"{state}: no job starts now", "wait, or another"
        )


def _time(there: Site, options: SlurmOptions) -> Iterator[Finding]:
    limit = there.longest
    if options.time is None or limit is None or options.time <= limit[0]:
        return
    given = "no limit" if options.time >= UNLIMITED else plural(options.time, "minute")
    message = f"{given}, but {limit[1]} allows {plural(limit[0], 'minute')}: jobs would never start"
    fix = f"--time {limit[0]} or less; jobs that hit their limit are requeued and resume"
    yield Finding(FAIL, "time", message, fix)


def _sizes(there: Site, options: SlurmOptions, per_node: int) -> Iterator[Finding]:
    """Cores, memory and GPUs of a job's node, beside the largest node that there is."""
    if not there.nodes:
        return
    job = options.of_job(options.workers_per_gpu)
    where = ",".join(sorted({nodes.partition for nodes in there.nodes}))
    cpus, most = (job.cpus or 1) * per_node, max(nodes.cpus for nodes in there.nodes)
    if cpus > most:
        message = f"a job asks for {cpus} on a node, and the largest of {where} has {most}"
        yield Finding(FAIL, "cpus", message, "fewer --cpus, --workers-per-gpu or processes")
    asked_for, largest = megabytes(job.mem or "0"), max(nodes.megabytes for nodes in there.nodes)
    if asked_for > largest:
        message = f"{job.mem} ({asked_for} MB) on a node, and the largest of {where} has {largest}"
        yield Finding(FAIL, "mem", message, f"--mem {largest}M or less (0: all of a node's)")
    yield from _gpus(there.nodes, job.gpus, where)


def _gpus(nodes: Iterable[Nodes], wanted: int | str | None, where: str) -> Iterator[Finding]:
    types = sorted({kind for found in nodes for kind in found.gpus})
    kind = gpu_type(wanted)
    if not wanted or kind in types or (kind is None and types):
        return
    named = [known for known in types if known]
    have = f"has GPUs of {', '.join(named)}" if named else "has none"
    have = "has GPUs without a type" if types == [""] else have
    fix = near(kind, named) if kind and named else "another --partition, or another --gpus"
    yield Finding(FAIL, "gpus", f"a job asks for {wanted}, and {where} {have}", fix)
