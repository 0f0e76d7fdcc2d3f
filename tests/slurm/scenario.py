"""A matrix sent to a development cluster, disturbed, and judged by what came of it."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from results import records
from tests.slurm import looking, matrices
from tests.slurm.accounts import Hit
from tests.slurm.calling import COMMAND_SECONDS, Called, benchmark
from tests.slurm.dev_cluster import DevCluster, FaultError, Task, wait_until
from tests.slurm.looking import MARK, Looker
from tests.slurm.outcomes import Watch, numbers

QUEUE_SECONDS = 900.0  # until nothing is in the queue any more
MORE_SUBMITS = 3  # beyond the one that is allowed, to see what it would have taken
TEACHER, STUDENTS = "teacher", "students"


class MissedError(FaultError):
    """Everything had ended before the moment for a fault came."""


@dataclass
class Scenario:
    """A matrix in a folder of its own, and everything that is done to it.

    flags    of every submit; ``first`` only of the first one
    moments  when which fault was injected, in words
    """

    folder: Path
    name: str
    cluster: DevCluster
    content: dict[str, Any]
    rng: random.Random
    flags: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    moments: list[str] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)  # of which SLURM's accounts must tell
    injections: int = 0
    submits: int = 0
    said: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # what else should not have happened
    injected: float = 0.0
    submits_before: int = 0  # the last injection
    env: Mapping[str, str] = field(default_factory=dict)  # of all commands
    oddities: bool = False  # runs may be stale or blocked: weights are damaged, or code was edited

    def __post_init__(self) -> None:
        self.source = self.folder / f"{self.name}.yaml"
        self.runs = self.folder / "runs"
        self.runs.mkdir(parents=True, exist_ok=True)
        self.rewrite(self.content)
        self.begun = time.monotonic()
        self.watch = Watch(self.runs)
        self.looker = Looker(self)

    def rewrite(self, content: dict[str, Any]) -> None:
        """Write the matrix, anew where it was edited; its plugins once."""
        self.content = content
        matrices.write(content, self.source)

    @property
    def prefix(self) -> str:
        """What the names of this matrix's jobs begin with."""
        return f"kd-{self.name}-"

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    # ---- commands ------------------------------------------------------------------------------

    def submit(
        self, env: Mapping[str, str] | None = None, seconds: float = COMMAND_SECONDS
    ) -> Called:
        """One `submit`; the first has ``first``'s flags."""
        first = () if self.submits else self.first
        self.submits += 1
        flags = ("--yes", "--save-minutes", "0.02", *self.flags, *first)
        if "--time" not in flags:
            flags = (*flags, "--time", "30")
        done = self.command("submit", *flags, env=env, seconds=seconds)
        if "Traceback" in done.said:
            self.wrong.append("submit ended with a traceback")
        self.said.append(f"[{self.seconds:.0f} s] submit: exit code {done.code}\n{done.said}")
        return done

    def perhaps_submit_soon(self) -> None:
        """The one `submit` that is allowed, while jobs still run or end; or nothing."""
        if self.rng.random() < 0.5:
            more = self.rng.uniform(0, 10.0)
            time.sleep(more)
            self.note(f"submitted again after {more:.0f} s", 0)
            self.submit()

    def command(
        self,
        verb: str,
        *more: str,
        env: Mapping[str, str] | None = None,
        seconds: float = COMMAND_SECONDS,
    ) -> Called:
        environ = {**self.cluster.env, MARK: self.name, **self.env, **(env or {})}
        return benchmark(verb, self.source, self.runs, *more, env=environ, seconds=seconds)

    def states(self) -> dict[str, tuple[str, str]]:
        """Run id -> (what it is, its state) as `status --each` prints them."""
        return looking.states(self.command("status", "--each").said)

    def close(self) -> None:
        """Stop watching, and take out of the queue whatever is still there."""
        self.looker.stop()
        self.watch.stop()
        for task in self.tasks():
            self.cluster.once("scancel", task.id)

    # ---- what is going on ----------------------------------------------------------------------

    def tasks(self) -> list[Task]:
        """This matrix's tasks in the queue."""
        return self.cluster.tasks(self.prefix)

    def running(self, role: str | None = None) -> list[Task]:
        return [t for t in self.tasks() if t.is_running and role in (None, self.role(t))]

    def role(self, task: Task) -> str:
        path = self.runs / ".slurm" / task.name / f"task-{task.index}.json"
        specs = json.loads(path.read_text())["specs"]
        teachers = {pair.split(" -> ")[0] for pair in self.content["pairs"]}
        return TEACHER if specs[0]["student"] in teachers else STUDENTS

    def epochs(self, role: str) -> int:
        """How many epochs the furthest run of this role has saved; -1 before the first start."""
        teachers = {f"none--{pair.split(' -> ')[0]}" for pair in self.content["pairs"]}
        histories = [
            path
            for path in self.runs.glob("*/*/*/*/history.csv")
            if (path.parts[-4] in teachers) == (role == TEACHER)
        ]
        return max((path.read_text().count("\nmain,") for path in histories), default=0)

    def wait_for_queue(self) -> None:
        """Until nothing of this matrix is in the queue, or nothing that could ever start."""
        wait_until(self._is_at_rest, QUEUE_SECONDS, "the queue is not empty", every=1.0)

    def _is_at_rest(self) -> bool:
        tasks = self.tasks()
        stuck = any(task.is_stuck for task in tasks)
        return not tasks or (stuck and all(task.is_stuck or task.is_behind for task in tasks))

    # ---- moments -------------------------------------------------------------------------------

    def random_moment(self, role: str | None = None) -> list[Task]:
        """Wait for some epoch of the teacher or the students and a bit; the tasks running then.

        Epoch 0 is a start: Python may still be importing.
        """
        role = role or self.rng.choice([TEACHER, STUDENTS])
        epoch = self.rng.randrange(self.content["recipe"]["epochs"])
        more = self.rng.uniform(0, 5.0 if epoch == 0 else 1.5)
        self._wait_for(role, epoch)
        time.sleep(more)
        running = self.running() or self._next_running()
        self.note(f"{role}, {more:.1f} s after epoch {epoch}")
        return running

    def _wait_for(self, role: str, epoch: int) -> None:
        def has_come() -> bool:
            if self._is_at_rest() and self.tasks():  # SLURM holds what a node could not start
                self.submit()
            begun = self.epochs(role) >= epoch and bool(self.running(role))
            return begun or not self.tasks()

        wait_until(has_come, QUEUE_SECONDS, f"{role} did not come to epoch {epoch}")

    def _next_running(self) -> list[Task]:
        """Between two jobs: the next one."""
        wait_until(lambda: bool(self.running()) or not self.tasks(), QUEUE_SECONDS, "nothing runs")
        running = self.running()
        if not running:
            raise MissedError("everything had ended before the moment came")
        return running

    def note(self, moment: str, injections: int = 1, since: float | None = None) -> None:
        """Record that a fault is injected now, or has been since a moment."""
        self.injections += injections
        self.injected = since or time.monotonic()
        self.submits_before = self.submits if injections else self.submits_before
        self.moments.append(f"{self.seconds:.0f} s: {moment}")

    def hit(self, task: Task, *states: str, node: str = "") -> None:
        """Record that a fault is about to end a task, which SLURM must give one of these states."""
        self.hits.append(Hit(task.id, states, time.time(), node))

    # ---- the end -------------------------------------------------------------------------------

    def results(self) -> dict[str, Any]:
        """Run id -> its `numbers`, of what has a result."""
        found = [(d, record) for d, record in records.scan(self.runs) if ".stale-" not in d.name]
        return {record.run: numbers(d, record) for d, record in found}

    def is_all_done(self) -> bool:
        """Whether every run that was sent has a result."""
        return set(self.looker.eyes.teachers()) <= set(self.results())

    def recover(self, wanted: set[str]) -> int:
        """Wait, and submit until all ``wanted`` runs are there; the submits beyond the one allowed.

        A fault counts as survived with at most one `submit` after it.
        """
        self.wait_for_queue()
        while wanted - set(self.results()) and self.more <= MORE_SUBMITS:
            self.submit()
            self.wait_for_queue()
        return max(0, self.more - 1)

    @property
    def more(self) -> int:
        """How many submits there were since the last injection."""
        return self.submits - self.submits_before

    def evidence(self) -> str:
        """What one needs to understand a failure: status, the ends of the logs, the accounts."""
        parts = [*self.said, *self.moments, self.command("status", "--each").said]
        for log in sorted(self.runs.glob(".slurm/*/*_log.out")):
            lines = log.read_text(errors="replace").splitlines()[-12:]
            parts.append("\n".join([f"==> {log}", *lines]))
        for error in sorted(self.runs.glob("*/*/*/*/error.txt")):
            parts.append(f"==> {error}\n{error.read_text()[:1500]}")
        return "\n".join([*parts, self.cluster.accounts(self.prefix)])
