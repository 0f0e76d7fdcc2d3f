"""Ask `status` again and again while a scenario plays, and judge what it says."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.slurm.accounts import Start
from tests.slurm.dev_cluster import Process, processes
from tests.slurm.truth import Look, falsehoods

if TYPE_CHECKING:
    from tests.slurm.scenario import Scenario

ACCOUNT_SECONDS, ACCOUNT_LOOKS = 3.0, 5  # until the accounts have heard of a job, or its end
EVERY = 3.0  # seconds between two looks, each of which takes one or two
MARK = "KD_SCENARIO"  # in the environment of everything that a scenario starts
_ROW = re.compile(r"([0-9a-f]{8,64})  +(.*)")


def states(table: str) -> dict[str, tuple[str, str]]:
    """Run id -> (what it is, its state) of what `status --each` printed."""
    lines = table.splitlines()
    rule = next((i for i, line in enumerate(lines) if re.fullmatch(r"-+(  +-+)+", line)), None)
    if rule is None:
        return {}
    width = len(lines[rule].split("  ")[1])
    rows = (_ROW.fullmatch(line) for line in lines[rule + 1 :])
    return {
        row[1]: (row[2][:width].strip(), row[2][width:].strip()) for row in rows if row is not None
    }


class Looker(threading.Thread):
    """Looks until it is stopped; ``false`` holds every line that cannot have been true."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(daemon=True)
        self.scenario, self.ended = scenario, threading.Event()
        self.eyes = Eyes(scenario)
        self.looks = 0
        self.false: list[str] = []
        self.start()

    def run(self) -> None:
        while not self.ended.wait(EVERY):
            self.look()

    def look(self) -> None:
        """One `status` between two looks of our own."""
        begun, before = time.time(), self.eyes.look()
        said = self.scenario.command("status", "--each").said
        after = self.eyes.look()
        if self.ended.is_set():  # the scenario's disk may be gone
            return
        self.looks += 1
        if "Traceback" in said or (before.answers and after.answers and "does not answer" in said):
            self.false.append(f"{self.scenario.seconds:.0f} s: status printed:\n{said}")
        rows = {run: state for run, (_, state) in states(said).items()}
        found = falsehoods(before, rows, after)
        ended = time.time()
        for _ in range(ACCOUNT_LOOKS if after.answers else 0):
            if not found:
                break
            after = self.eyes.with_accounts(after, begun, ended)  # what came and went in between
            found = falsehoods(before, rows, after)
        self.false += [f"{self.scenario.seconds:.0f} s: {line}" for line in found]

    def stop(self) -> None:
        self.ended.set()
        self.join()


@dataclass
class Eyes:
    """What is true of a scenario's runs, by the disk, the queue and the processes."""

    scenario: Scenario
    _jobs: dict[Path, dict[str, Any]] = field(default_factory=dict)  # they never change
    _queued: dict[str, frozenset[str]] = field(default_factory=dict)  # of the last answer

    def look(self) -> Look:
        runs, oddities = self.scenario.runs, self.scenario.oddities
        places = {
            path.name.partition("-")[2]: path
            for path in runs.glob("*/*/*/*-*")
            if ".stale-" not in path.name
        }
        having = {
            name: frozenset(run for run, path in places.items() if (path / name).exists())
            for name in ("result.json", "error.txt", "blocked.txt")
        }
        teachers = self.teachers()
        failed = having["error.txt"] - having["result.json"]
        behind = {run for run, teacher in teachers.items() if teacher in failed}
        answers = self._ask()
        return Look(
            done=having["result.json"],
            failed=failed,
            blocked=having["blocked.txt"] | behind,
            odd=frozenset({*places, *teachers}) if oddities else frozenset(),
            queued=dict(self._queued),
            working=frozenset(self._working()),
            unsure=frozenset(self._unsure()),
            answers=answers,
        )

    def _unsure(self) -> Iterator[str]:
        """Runs of arrays that have no job id yet."""
        for path in self.scenario.runs.glob(".slurm/*/array.json"):
            with contextlib.suppress(OSError, ValueError):  # gone since, or being replaced
                array = json.loads(path.read_text())
                if array["job"] is None:
                    yield from (run for runs in array["tasks"] for run in runs)

    def _ask(self) -> bool:
        """Whether the controller answers; its queue then is the last known."""
        tasks = self.scenario.cluster.glance(self.scenario.prefix)
        if tasks is None:
            return False
        found: dict[str, set[str]] = {}
        for task in tasks:
            for run in self._ids(self.scenario.runs / ".slurm" / task.name, task.index):
                found.setdefault(run, set()).add(task.state)
        self._queued = {run: frozenset(states) for run, states in found.items()}
        return True

    def with_accounts(self, look: Look, since: float, until: float) -> Look:
        """A look, with what came and went in a span by SLURM's accounts."""
        time.sleep(ACCOUNT_SECONDS)
        starts = self.scenario.cluster.starts(self.scenario.prefix)
        ran = self._runs(start for start in starts if start.overlaps(since, until))
        sent = self._runs(start for start in starts if start.was_sent(since, until))
        return replace(look, ran=ran, sent=sent)

    def _runs(self, starts: Iterable[Start]) -> frozenset[str]:
        found: set[str] = set()
        for start in starts:
            folder = self.scenario.runs / ".slurm" / start.name
            found.update(run for index in start.indices for run in self._ids(folder, index))
        return frozenset(found)

    def _working(self) -> Iterator[str]:
        """Runs in the job of a live worker; a stopped one is not at work."""
        for process in processes({f"{MARK}={self.scenario.name}"}):
            if "work" in process.words and not process.is_stopped:
                yield from self._of(process)

    def _of(self, process: Process) -> list[str]:
        place = Path(process.words[process.words.index("work") + 1])
        if place.suffix == ".json":
            return list(self._read(place).get("ids", ()))
        return self._ids(place, process.environ.get("SLURM_ARRAY_TASK_ID", ""))

    def _ids(self, folder: Path, index: str) -> list[str]:
        """The runs of an array task."""
        return list(self._read(folder / f"task-{index}.json").get("ids", ()))

    def teachers(self) -> dict[str, str | None]:
        """Every run that was sent or begun -> the run of its teacher."""
        for path in self.scenario.runs.glob(".slurm/*/task-*.json"):
            self._read(path)
        found: dict[str, str | None] = {}
        for job in list(self._jobs.values()):
            for run, spec in zip(job.get("ids", ()), job.get("specs", ()), strict=True):
                found[run] = (spec.get("teacher") or {}).get("run")
        return found

    def _read(self, path: Path) -> dict[str, Any]:
        if path not in self._jobs:
            try:
                self._jobs[path] = json.loads(path.read_text())
            except (OSError, ValueError):  # gone, or being written: it is looked at again
                return {}
        return self._jobs[path]
