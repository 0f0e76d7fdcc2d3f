"""`doctor`: what is wrong with all that a benchmark hangs on, and how to mend it."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import torch

from experiments import environment, slurm
from experiments.doctor import disk, machine, packages
from experiments.doctor import matrix as matrix_checks
from experiments.doctor import slurm as slurm_checks
from experiments.doctor.finding import FAIL, OK, WARN, Finding
from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.matrix import schema
from experiments.matrix.schema import Matrix
from experiments.matrix.slurm_options import SITE, SlurmOptions, merged, site_file
from experiments.plan.workspace import Workspace

T = TypeVar("T")
PATIENCE = 150.0  # seconds for one check; two commands of SLURM may take a minute each
PLAN_PATIENCE = 900.0  # for a matrix: large data sets are read, every method is built


class NoAnswer(RuntimeError):  # noqa: N818  (said of a check)
    """A check took longer than anybody waits."""


class Examination:
    """One after the other; later checks use what earlier ones found out."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.runs, self.data = args.runs.expanduser().absolute(), args.data.expanduser().absolute()
        self.table: Matrix | None = None
        self.options = SlurmOptions(partition=args.partition)
        self.need = disk.Need()
        self.is_slurm = slurm.is_here()

    @property
    def jobs(self) -> str | None:
        """What jobs compute on, None without SLURM."""
        if not self.is_slurm:
            return None
        return self.options.device if self.args.device == "auto" else str(self.args.device)

    def findings(self) -> Iterator[Finding]:
        """Everything, cheap things first."""
        yield from packages.findings()
        yield from self.ask_one("torch", machine.torch_build)
        yield from self.ask_one("code", lambda: machine.code(environment.code()))
        yield from self.ask("options", self.read_options)
        yield from self.ask_one("GPU", self.gpu)
        yield from self.ask("cores", self.cores)
        yield from self.slurm()
        if self.table:
            yield from self.ask("matrix", self.plan, PLAN_PATIENCE)
        elif self.args.plugin:
            yield from self.ask_one("plugins", lambda: matrix_checks.plugins(self.args.plugin))
        yield from self.ask("runs directory", lambda: disk.runs(self.runs, self.is_slurm))
        yield from self.ask_one("space", lambda: disk.space(disk.free(self.runs), self.need))
        yield from self.ask(
            "left behind", lambda: matrix_checks.left_behind(self.runs), PLAN_PATIENCE
        )

    def ask(
        self, what: str, check: Callable[[], Iterable[Finding]], patience: float = PATIENCE
    ) -> list[Finding]:
        """A check's findings. One that fails or hangs is a finding, too, and the rest goes on."""
        try:
            return list(within(patience, check))
        except NoAnswer:
            mend = "a hanging disk, driver or command: try what it looks at by hand"
            return [Finding(FAIL, what, f"no answer within {patience:.0f} seconds", mend)]
        except (OSError, slurm.SlurmError) as error:
            return [Finding(FAIL, what, str(error), "see whether you may look at it")]
        except Exception as error:
            if self.args.debug:
                raise
            said = f"this check itself failed: {type(error).__name__}: {error}"
            return [Finding(FAIL, what, said, "doctor --debug shows where; please report it")]

    def ask_one(self, what: str, check: Callable[[], Finding]) -> list[Finding]:
        """The same for a check with a single finding."""
        return self.ask(what, lambda: [check()])

    # ---- single checks that need more than one thing ---------------------------------------------

    def read_options(self) -> Iterator[Finding]:
        """The matrix file as such, and SLURM's options from it, the site file and --partition."""
        if self.args.matrix:
            try:
                self.table = schema.load(self.args.matrix)
            except InputError as error:
                yield Finding(FAIL, "matrix", str(error), "until then nothing of it is looked at")
        site = site_file(self.args.site)
        own = self.table.slurm if self.table else SlurmOptions()
        try:
            self.options = merged(site, own, {"partition": self.args.partition})
        except InputError as error:
            yield Finding(FAIL, "site file", str(error), "`submit` refuses it, too")
            return
        if site or self.is_slurm:
            yield _options(site, self.options)

    def gpu(self) -> Finding:
        """With regard to what is to compute here or in jobs."""
        return machine.gpu(machine.look_for_gpus(), self.args.device, self.jobs)

    def cores(self) -> list[Finding]:
        """With regard to the recipe."""
        threads = self.table.recipe.threads if self.table else 1
        return machine.cores(threads, self.jobs, self.options.cpus)

    def plan(self) -> list[Finding]:
        """The whole matrix; what it will need is kept for the look at the disk."""
        assert self.table is not None  # asked before
        self.need, findings = matrix_checks.planned(self.args.matrix, self.table, self.place())
        return findings

    def place(self) -> Workspace:
        """As `run` would have it; with SLURM, as `submit`."""
        device = self.jobs or self.args.device
        elsewhere = self.is_slurm or (device == "cuda" and not torch.cuda.is_available())
        plugins = tuple(self.args.plugin)
        return Workspace(self.runs, self.data, device, plugins, here=not elsewhere)

    # ---- SLURM -----------------------------------------------------------------------------------

    def slurm(self) -> Iterator[Finding]:
        """Step by step: without commands, or an answer, there is no point in asking on."""
        yield from slurm_checks.shell()
        for check in (slurm_checks.commands, slurm_checks.controller):
            found = self.ask_one("SLURM", check)
            yield from found
            if any(finding.level != OK for finding in found):
                return
        yield from self.ask("partitions", self.partitions)
        yield from self.ask_one("account", self.account)
        yield from self.ask_one("a job like ours", lambda: slurm_checks.trial(self.options))
        yield from self.ask_one("arrays", lambda: slurm_checks.arrays(slurm.config(), self.options))
        yield from self.ask_one("jobs", lambda: slurm_checks.look_for_room(self.options))
        yield from self.ask_one("accounting", slurm_checks.accounting)
        yield from self.ask_one("places", self.places)

    def partitions(self) -> list[Finding]:
        """Where jobs go, and what may happen to them there."""
        found = slurm_checks.look_for_partitions()
        goes = slurm_checks.chosen(found, self.options)
        config = slurm.config()
        pushed = dict.fromkeys(slurm_checks.preemption(p, config) for p in goes)
        return [*slurm_checks.partition(found, self.options), *pushed]

    def account(self) -> Finding:
        """Whether the user may charge the account; without accounting nobody asks."""
        config = slurm.config()
        try:
            found = slurm_checks.look_for_associations()
        except slurm.SlurmError as error:
            mend = "nothing to do, unless sbatch refuses jobs for it"
            return Finding(WARN, "account", f"accounting does not say: {error}", mend)
        return slurm_checks.account(found, self.options, config)

    def places(self) -> Finding:
        """Whether the nodes can see what jobs read and write."""
        if not slurm_checks.nodes_are_elsewhere():
            return Finding(OK, "places", "all nodes are this machine: they see what it sees")
        return disk.shared(disk.places(self.runs, self.data))


def _options(site: Path | None, options: SlurmOptions) -> Finding:
    """What jobs will ask for, and where that was read."""
    given = options.model_dump(exclude_unset=True, exclude_none=True)
    listed = ", ".join(f"{key} {_shown(value)}" for key, value in given.items()) or "none given"
    device = "a GPU" if options.device == "cuda" else "the CPU (no `gpus:`)"
    found = f"{listed}; jobs compute on {device}; site file: {site or f'none at {CHECKOUT / SITE}'}"
    return Finding(OK, "SLURM options", found)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={entry}" for key, entry in value.items())
    return "; ".join(value) if isinstance(value, tuple) else str(value)


def within(seconds: float, work: Callable[[], T]) -> T:
    """What ``work`` returns or raises; NoAnswer when that takes too long.

    It runs in a thread of its own, which is left behind then: what hangs in the kernel (a disk, a
    driver) cannot be interrupted, and the end of this process does not wait for it.
    """
    answer: Future[T] = Future()

    def fill() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:  # noqa: BLE001  (handed on to whoever waits)
            answer.set_exception(error)

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    thread.join(seconds)
    if not answer.done():
        raise NoAnswer
    return answer.result()
