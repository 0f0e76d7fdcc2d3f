"""`doctor`: check everything a benchmark depends on, and say how to fix it."""

from __future__ import annotations

import argparse
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from functools import partial
from pathlib import Path

import torch

import datasets
import distillers
import models
from experiments import environment, slurm
from experiments.activity import activity
from experiments.cluster import addresses, policies, site
from experiments.doctor import disk, images, machine, packages, requests
from experiments.doctor import matrix as matrix_checks
from experiments.doctor import slurm as slurm_checks
from experiments.doctor.finding import FAIL, OK, Finding
from experiments.environment import CHECKOUT
from experiments.errors import InputError, problems_of
from experiments.matrix import schema
from experiments.matrix.schema import Matrix
from experiments.matrix.slurm_options import SITE, SlurmOptions, merged, site_file
from experiments.plan.workspace import Workspace
from results import records

Check = Callable[[], "Finding | Iterable[Finding]"]

TIMEOUT = 150.0  # seconds for one check; two SLURM commands may take a minute each
LONG_TIMEOUT = 900.0  # for a matrix: large data sets are read and every method is built
IMAGES_TIMEOUT = 7 * 24 * 3600.0  # every file is decoded; a progress bar shows how far it is
EXPECTED = (  # errors whose messages explain themselves
    InputError,
    datasets.DataError,
    distillers.MethodError,
    models.ModelError,
    records.RecordError,
    OSError,
)


class Examination:
    """Runs the checks one after another; later ones use what earlier ones found out."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.runs = Path(os.path.expanduser(args.runs)).absolute()
        self.data = Path(os.path.expanduser(args.data)).absolute()
        self.matrix: Matrix | None = None
        self.options = SlurmOptions(partition=args.partition)
        self.need = disk.Need()
        self.is_slurm = slurm.is_here()

    @property
    def job_device(self) -> str | None:
        """What SLURM jobs compute on; None without SLURM."""
        if not self.is_slurm:
            return None
        return self.options.device if self.args.device == "auto" else str(self.args.device)

    def findings(self) -> Iterator[Finding]:
        """Everything, cheap checks first."""
        run, device = self.run, self.args.device
        yield from run("packages", packages.findings)
        yield from run("torch", machine.check_torch)
        yield from run("code", lambda: machine.check_code(environment.code()))
        yield from run("options", self.read_options)
        yield from run("GPU", lambda: machine.check_gpus(device, self.job_device))
        yield from run("cores", self.check_cores)
        yield from self.check_slurm()
        if self.matrix:
            yield from run("matrix", self.check_matrix, LONG_TIMEOUT)
            if self.args.images:
                check = partial(images.check_images, self.matrix, self.data)
                yield from run("images", check, IMAGES_TIMEOUT)
        elif self.args.plugin:
            yield from run("plugins", self.load_plugins)
        yield from run("runs directory", partial(disk.check_runs, self.runs))
        yield from run("disk space", lambda: disk.check_space(self.runs, self.need))
        yield from run("leftovers", partial(matrix_checks.check_leftovers, self.runs), LONG_TIMEOUT)

    def run(self, subject: str, check: Check, timeout: float = TIMEOUT) -> list[Finding]:
        """A check's findings. If it fails or hangs, that is a finding, too; the others follow."""
        try:
            with activity(f"checking: {subject}"):
                return run_within(timeout, check)
        except NoAnswer:
            fix = "a disk, driver or command hangs: try by hand what this check looks at"
            return [Finding(FAIL, subject, f"did not answer within {timeout:g} s", fix)]
        except EXPECTED as error:
            fix = "nothing that needs it will work"
            return [Finding(FAIL, subject, what, fix) for what in problems_of(error)]
        except Exception as error:
            if self.args.debug:
                raise
            message = f"this check itself failed: {type(error).__name__}: {error}"
            return [Finding(FAIL, subject, message, "please report it with `doctor --debug`")]

    # ---- checks that depend on others ------------------------------------------------------------

    def read_options(self) -> Iterator[Finding]:
        """Read the matrix file, and SLURM's options from it, the site file and --partition."""
        if self.args.matrix:
            try:
                self.matrix = schema.load(self.args.matrix)
            except InputError as error:
                fix = "correct it; its data is not checked"
                yield from (Finding(FAIL, "matrix", what, fix) for what in problems_of(error))
        file = site_file(self.args.site)
        own = self.matrix.slurm if self.matrix else SlurmOptions()
        try:
            self.options = merged(file, own, {"partition": self.args.partition})
        except InputError as error:
            yield Finding(FAIL, "site file", str(error), "correct it: `submit` refuses it, too")
            return
        if file or self.is_slurm:
            yield _describe(file, self.options)

    def check_cores(self) -> Finding:
        threads = self.matrix.recipe.threads if self.matrix else 1
        return machine.check_cores(threads, self.job_device, self.options.cpus)

    def check_matrix(self) -> list[Finding]:
        """Check the whole matrix as `run` would, or `submit` if there is SLURM."""
        device = self.job_device or self.args.device
        elsewhere = self.is_slurm or (device == "cuda" and not torch.cuda.is_available())
        plugins = tuple(self.args.plugin)
        workspace = Workspace(self.runs, self.data, device, plugins, here=not elsewhere)
        self.need, findings = matrix_checks.check_matrix(self.args.matrix, workspace)
        return findings

    def load_plugins(self) -> Finding:
        for path in self.args.plugin:
            distillers.load_plugin(Path(os.path.expanduser(path)).absolute())
        return Finding(OK, "plugins", f"{', '.join(map(str, self.args.plugin))}: loaded")

    def check_slurm(self) -> Iterator[Finding]:
        """Whether jobs can be sent; if the controller does not answer, nothing else will."""
        controller = self.run("SLURM", slurm_checks.check_controller)
        yield from controller
        if any(finding.level != OK for finding in controller):
            return
        yield from self.run("partitions", self.check_partitions)
        yield from self.run("account", lambda: slurm_checks.check_account(self.options))
        yield from self.run("test job", lambda: slurm_checks.check_sbatch(self.options))
        yield from self.run("shared disks", self.check_shared)

    def check_partitions(self) -> list[Finding]:
        """What `submit` would say of these requests, and what the partitions are."""
        options = addresses.resolved(self.options)
        there = site.of(options)
        processes = self.matrix.processes if self.matrix else 1
        return slurm_checks.check_partitions(
            slurm_checks.read_partitions(policies.addressed(options)),
            [partition.name for partition in there.partitions],
            requests.problems(there, options, processes),
        )

    def check_shared(self) -> Finding:
        if slurm_checks.is_only_node():
            return Finding(OK, "shared disks", "this machine is the only node")
        return disk.check_shared(self.runs, self.data)


def _describe(file: Path | None, options: SlurmOptions) -> Finding:
    """What jobs will request, and where that comes from."""
    given = options.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    listed = ", ".join(f"{key} {value}" for key, value in given.items()) or "none"
    device = "a GPU" if options.device == "cuda" else "the CPU (no `gpus:`)"
    source = file or f"none at {CHECKOUT / SITE}"
    message = f"{listed}; jobs compute on {device}; site file: {source}"
    return Finding(OK, "SLURM options", message)


def run_within(seconds: float, check: Check) -> list[Finding]:
    """A check's findings; raises NoAnswer if it takes too long, and what the check raises.

    A thread that hangs in the kernel (a disk, a driver) cannot be interrupted. It is a daemon, so
    that this process can end without waiting for it, as it would for a ThreadPoolExecutor's.
    """
    answer: Future[list[Finding]] = Future()

    def fill() -> None:
        try:
            findings = check()
            answer.set_result([findings] if isinstance(findings, Finding) else list(findings))
        except BaseException as error:  # noqa: BLE001  (raised again in the main thread)
            answer.set_exception(error)

    threading.Thread(target=fill, daemon=True).start()
    return answer.result(seconds)
