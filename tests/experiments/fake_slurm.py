"""A SLURM of small scripts, first in PATH: what is tested calls them as it calls the real ones.

They share one file (see `fake_slurm_commands`), which tests read and change through `Slurm`.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from experiments import slurm
from experiments.matrix import slurm_options
from tests.experiments import cli, fake_slurm_commands
from tests.experiments.fake_slurm_commands import State

COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo", "sacctmgr", "srun")
Job = dict[str, Any]


def task_name(job: Job, task: Job) -> str:
    """ "101_0", or "there:101_0" on another cluster."""
    there = "" if job["cluster"] == "fake" else f"{job['cluster']}:"
    return f"{there}{job['id']}_{task['index']}"


class Slurm:
    """The cluster as a test sees it. Tasks are named as squeue names them: "101_0"."""

    def __init__(self, folder: Path) -> None:
        self.bin, self._path = folder / "bin", folder / "state.py"
        self.bin.mkdir(parents=True)
        self._path.write_text(repr(_new_state()))
        program = [sys.executable, "-S", "-E", fake_slurm_commands.__file__, str(self._path)]
        for name in COMMANDS:
            script = self.bin / name
            script.write_text(f'#!/bin/sh\nexec {shlex.join(program)} {name} "$@"\n')
            script.chmod(0o755)

    @contextmanager
    def state(self) -> Iterator[dict[str, Any]]:
        """All there is, to be changed; keys as in `_new_state`."""
        with State(str(self._path)) as content:
            yield content

    def set(self, **values: Any) -> None:
        with self.state() as state:
            for key, value in values.items():
                state[key] = {**state[key], **value} if isinstance(value, dict) else value

    @property
    def jobs(self) -> list[Job]:
        """All arrays, oldest first."""
        with self.state() as state:
            jobs: list[Job] = state["jobs"]
        return jobs

    @property
    def queue(self) -> dict[str, str]:
        """Task -> state, of what is in the queue."""
        found = {task_name(j, t): t["state"] for j in self.jobs for t in j["tasks"]}
        return {task: s for task, s in found.items() if s in fake_slurm_commands.ACTIVE}

    def calls(self, *commands: str) -> list[list[str]]:
        """Which commands were called, with arguments; of all or of these."""
        with self.state() as state:
            calls = state["calls"]
        return [call for call in calls if call[0] in commands or not commands]

    def refuse(self, command: str, text: str, after: int = 0) -> None:
        """Let a command fail with a complaint, from call number ``after`` on."""
        self.set(refuse={command: [len(self.calls(command)) + after, text]})

    def move(self, task: str, state: str, reason: str = "", cluster: str | None = None) -> None:
        """Put a task, or all of an array, into a state; whoever waits for it notices."""
        with self.state() as content:
            for _, found in fake_slurm_commands.tasks(content, [task], cluster):
                found.update(state=state, reason=reason)
            fake_slurm_commands.look_after(content)

    def purge(self, job: str) -> None:
        """The controller forgets an array, as it does minutes after its end; accounts do not."""
        with self.state() as content:
            for found in content["jobs"]:
                found["purged"] = found["purged"] or found["id"] == job

    def environment(self, task: str) -> dict[str, str]:
        """What SLURM tells a task of an array in its variables."""
        array, _, index = task.partition("_")
        found = next(j for j in self.jobs if j["id"] == array)["tasks"][int(index)]
        return {
            "SLURM_JOB_ID": found["raw"],
            "SLURM_ARRAY_JOB_ID": array,
            "SLURM_ARRAY_TASK_ID": index,
            "SLURM_RESTART_COUNT": str(found["restarts"]),
            "SLURM_CLUSTER_NAME": "fake",
        }

    def run(self, task: str) -> cli.Called:
        """Do what a task is there for, in this process: how it ended, and what it printed."""
        job = next(j for j in self.jobs if j["id"] == task.partition("_")[0])
        folder = Path(job["options"]["output"]).parent
        with pytest.MonkeyPatch.context() as patch, cli.signals_kept():
            for name, value in self.environment(task).items():
                patch.setenv(name, value)
            self.move(task, "RUNNING", "n1")
            ended = cli.call("work", str(folder))
        self.move(task, "FAILED" if ended.code else "COMPLETED")
        return ended


def _new_state() -> dict[str, Any]:
    return {
        "next": 100,
        "user": slurm.user(),
        "jobs": [],
        "calls": [],
        "refuse": {},  # command -> [calls that are well, then this complaint]
        "slow": {},  # command -> seconds
        "hidden": [],  # users whose jobs squeue does not show
        "unaccounted": [],  # and those whose jobs sacct does not
        "answer": "Submitted batch job {job}{there}\n",  # of sbatch
        "banner": "",  # what every command prints after its answer
        "clusters": [],  # other ones of the same accounts
        "silent": [],  # those that do not answer
        "next_there": {},  # their next job ids; they begin at 100, too
        "config": {"ClusterName": "fake", "MaxArraySize": 1001},
        "defaults": {},
        "partitions": {"batch*": "1-00:00:00", "short": "30:00", "endless": "infinite"},
        "accounting": True,
        "associations": [["group", "normal", "", ""]],  # account, qos, MaxSubmit, GrpSubmit
        "qos": [["normal", "", ""]],  # name, MaxSubmitPerUser, MaxSubmitPerAccount
    }


def install(folder: Path, patch: pytest.MonkeyPatch) -> Slurm:
    """A new cluster, and no trace of a real one or of a job that the tests may run in."""
    found = Slurm(folder)
    for name in [name for name in os.environ if name.startswith(("SLURM", "SBATCH"))]:
        patch.delenv(name)
    patch.setenv("PATH", f"{found.bin}{os.pathsep}{os.environ['PATH']}")
    patch.setattr(slurm_options, "SITE", "no-such-site.yaml")  # a developer may have one
    slurm.config.cache_clear()
    slurm.others.cache_clear()
    return found
