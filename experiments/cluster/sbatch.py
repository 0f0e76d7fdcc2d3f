"""Render sbatch scripts, through submitit, and submit them."""

from __future__ import annotations

import copy
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.helpers import clean_env

from experiments import slurm
from experiments.activity import activity
from experiments.cluster.answer import Sent, UnclearError, understood
from experiments.matrix.slurm_grammar import UNLIMITED, gpu_type
from experiments.matrix.slurm_options import SlurmOptions
from experiments.slurm import ABOUT_TO_TIME_OUT
from experiments.slurm_command import KEPT

# The environment of every worker, as in `local.queue`: cuBLAS's workspace for `deterministic`, and
# threads that do not spin while they wait.
SETUP = (
    "export CUBLAS_WORKSPACE_CONFIG=${CUBLAS_WORKSPACE_CONFIG:-:4096:8}",
    "export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-10000}",
)
# Options that users set for all their jobs in variables such as SBATCH_ACCOUNT.
DEFAULTS = ("account", "partition", "qos", "constraint", "reservation")
# Stands for a "%" of the folder's own while submitit puts SLURM's ("%A") into the names of files.
_PERCENT = "\ue0e0\ue0e1"
SCRIPT = "submission.sh"  # in the array's folder, beside the logs
SIGNAL_SECONDS = 180  # before the time limit: a step, a save, and SLURM's own minute of slack


class _Executor(submitit.SlurmExecutor):
    """submitit's script generator, without submitit's runner and its call of sbatch.

    Tasks run ``benchmark.py work`` on plain JSON files in the array's folder instead of a pickled
    function. So nothing has to be unpickled after an upgrade, no file has to be moved once sbatch
    has answered (a submitter killed in between loses nothing), and no second signal handler counts
    time-outs. submitit would wait for an sbatch that hangs, and takes any "job 12" for the answer.
    """

    @classmethod
    def affinity(cls) -> int:
        return 2  # usable without SLURM, to show scripts in a dry run

    def script(self, command: str) -> str:
        return self._make_submission_file_text(command, "")

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        """submitit's script. SLURM expands "%" in names of files: one of the folder's is "%%"."""
        masked = copy.copy(self)
        masked.folder = Path(str(self.folder).replace("%", _PERCENT))
        text = super(_Executor, masked)._make_submission_file_text(command, uid)
        return text.replace(_PERCENT, "%%")


def script(folder: Path, **parameters: Any) -> str:
    """The sbatch script of an array, see `_prepared` for the parameters."""
    executor, command = _prepared(folder, **parameters)
    return executor.script(command)


def send(folder: Path, **parameters: Any) -> Sent:
    """Call sbatch for at most `slurm.TIMEOUT` seconds; the array's job id, and where it went.

    Raises SlurmError with sbatch's message, or UnclearError where the job may have been accepted.
    If this process is itself part of a job, that job's variables are not passed on.
    """
    executor, command = _prepared(folder, **parameters)
    written = folder / SCRIPT
    written.write_text(executor.script(command), encoding="utf-8")
    where = handed_on(parameters["options"])
    with clean_env():
        env = {**os.environ, **where}
    try:
        with activity("waiting for SLURM's sbatch"):
            done = slurm.execute(["sbatch", str(written)], env, slurm.TIMEOUT)
    except slurm.NoAnswerError as error:
        raise UnclearError(str(error)) from error
    return understood(done)


def handed_on(options: SlurmOptions) -> dict[str, str]:
    """The SLURM variables of this shell to pass to sbatch: the cluster's address, and defaults.

    sbatch lets a variable override the script, so a default is passed only if its option is not
    given.
    """
    given = {**options.model_dump(), **options.sbatch}
    names = [f"SBATCH_{name.upper()}" for name in DEFAULTS if given.get(name) is None]
    kept = (name for name in os.environ if name.startswith(KEPT) or name in names)
    return {name: os.environ[name] for name in kept}


def _prepared(
    folder: Path,
    *,
    name: str,
    tasks: int,
    options: SlurmOptions,
    minutes: int | None,
    code: Path,
    after: Sequence[str] = (),
    after_end: Sequence[str] = (),
    processes: int = 1,
    comment: str | None = None,
) -> tuple[_Executor, str]:
    """The executor with all options set, and the command that its script runs.

    after      the array tasks that must have ended well before any job begins
    after_end  the arrays that must have ended before, in any way
    minutes    the time limit; None: the partition's default
    comment    what queues show of the array, unless the options have a comment of their own
    """
    executor = _Executor(folder)
    cpus, per_node = options.cpus, processes // options.nodes
    executor.update_parameters(
        job_name=name,
        partition=options.partition,
        account=options.account,
        qos=options.qos,
        constraint=options.constraint,
        time="UNLIMITED" if minutes == UNLIMITED else minutes,
        mem=options.mem,
        cpus_per_task=cpus,
        gpus_per_node=_gpus(options.gpus, per_node),
        **_several(processes, options.nodes),
        dependency=_dependency([*options.after, *after_end], after),
        comment=comment,
        array_parallelism=options.array_parallelism or tasks,
        setup=[*SETUP, *options.setup],
        srun_args=_srun(cpus, processes),
        signal_delay_s=_signal_seconds(minutes),
        stderr_to_stdout=True,
        wckey=None,
        additional_parameters=_additional(options, minutes),
    )
    executor.parameters["map_count"] = tasks
    python = options.python or shlex.quote(sys.executable)
    program, place = shlex.quote(str(code / "benchmark.py")), shlex.quote(str(folder))
    return executor, f"{python} -u {program} work {place}"


def _gpus(asked: int | str | None, per_node: int) -> int | str | None:
    """The GPUs that a job asks for on each node: one for each of its processes there."""
    if not asked:
        return None
    kind = gpu_type(asked)
    return f"{kind}:{per_node}" if kind else per_node


def _dependency(ended: Sequence[str], done: Sequence[str]) -> str | None:
    """The end, good or bad, of some jobs, such as a person wants to wait for; others' good one."""
    parts = [f"afterany:{':'.join(dict.fromkeys(ended))}"] if ended else []
    parts += [f"afterok:{':'.join(done)}"] if done else []
    return ",".join(parts) or None


def _srun(cpus: int | None, processes: int) -> list[str]:
    """Options that srun does not inherit from sbatch (since SLURM 22.05), or that only srun has.

    With ``export: NONE``, here or in the site's own settings, srun would withhold from Python what
    the script's lines have set.
    """
    several = (
        ["--kill-on-bad-exit=1"] if processes > 1 else []
    )  # the others would wait for a dead one
    return ["--export=ALL", *([f"--cpus-per-task={cpus}"] if cpus else []), *several]


def _additional(options: SlurmOptions, minutes: int | None) -> dict[str, Any]:
    """Options that submitit has no parameter for."""
    return {
        "requeue": True,
        "kill-on-invalid-dep": "yes",
        "signal": f"{ABOUT_TO_TIME_OUT.name.removeprefix('SIG')}@{_signal_seconds(minutes)}",
        **{k: _escaped(value) for k, value in options.sbatch.items() if value is not False},
    }


def _escaped(value: str | int | bool) -> str | int | bool:
    """sbatch takes a backslash in its script for an escape, within quotes, too."""
    return value.replace("\\", "\\\\") if isinstance(value, str) else value


def _several(processes: int, nodes: int) -> dict[str, int]:
    """How srun spreads a job's processes; nothing for one process, which is SLURM's default."""
    return {} if processes == 1 else {"nodes": nodes, "ntasks_per_node": processes // nodes}


def _signal_seconds(minutes: int | None) -> int:
    """Seconds before the limit, at most a quarter of it: a short job must still train."""
    return SIGNAL_SECONDS if minutes is None else min(SIGNAL_SECONDS, 15 * minutes)
