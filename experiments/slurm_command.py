"""Run one of SLURM's commands: in an environment of its own, for a limited time."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Sequence

from experiments.errors import InputError

# What SLURM's commands read from the environment, and what of it says where the cluster is.
_VARIABLES = ("SLURM", "SBATCH_", "SQUEUE_", "SACCT", "SINFO_", "SCANCEL_", "SCONTROL_")
KEPT = ("SLURM_CONF", "SLURM_JWT", "SLURM_SACK_")


class SlurmError(InputError):
    """A SLURM command refused or did not answer; the message is SLURM's, in one line."""


class NoAnswerError(SlurmError):
    """A SLURM command did not end in time; what it was to do may have been done."""


def environment() -> dict[str, str]:
    """This process's environment without the variables that SLURM's commands read.

    They choose other clusters, other jobs and other columns (SLURM_CLUSTERS, SQUEUE_PARTITION,
    SACCT_FORMAT, SLURM_TIME_FORMAT, …). Only what leads to the controller is kept.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_VARIABLES) or name.startswith(KEPT)
    }


def execute(
    command: Sequence[str], env: dict[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run a command of SLURM for at most so long; then end it and all that it has started.

    Raises NoAnswerError after that time, and SlurmError where there is no such command.
    """
    try:
        process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # a site's wrapper may have started the real command
        )
    except OSError as error:
        why = "not found" if isinstance(error, FileNotFoundError) else str(error)
        raise SlurmError(f"{command[0]}: {why}; is this a login node of a cluster?") from error
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise NoAnswerError(f"{command[0]}: no answer within {seconds} seconds") from error
    finally:
        if process.poll() is None:
            _end(process)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _end(process: subprocess.Popen[str]) -> None:
    """Kill a command's process group, and do not wait for who keeps its pipes open."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()


def one_line(text: str) -> str:
    """SLURM's complaint without its prefixes: "sbatch: error: invalid partition specified: x"."""
    lines = [re.sub(r"^\w+: (error|fatal): ", "", s).strip() for s in text.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line)) or "no message"
