"""What people do while jobs wait or run, and sites whose sbatch or controller is away."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.slurm.accounts import KILLED
from tests.slurm.dev_cluster import processes, wait_until
from tests.slurm.matrices import CRD
from tests.slurm.scenario import MissedError, Scenario

SUBMIT_SECONDS = 6.0  # about what a submit takes

HANGING = """#!/bin/bash
# The real one, but the {number}. call never answers: {how} the controller has heard of the job.
echo >>{count}
if (($(wc -l <{count}) != {number})); then exec {real} "$@"; fi
{call}
sleep 100000
"""

SBATCH = """#!/bin/bash
# The real one, and at the {number}. call its caller dies before it hears of the job's id.
echo >>{count}
{real} "$@"
code=$?
(($(wc -l <{count}) != {number})) || kill -KILL $PPID
exit $code
"""


def submitter_killed(s: Scenario) -> None:
    """Between sbatch and saving the id, at one of the three arrays."""
    number = s.rng.randint(1, 3)
    wrapper = s.folder / "bin" / "sbatch"
    wrapper.parent.mkdir()
    count, real = s.folder / "calls", shutil.which("sbatch")
    wrapper.write_text(SBATCH.format(number=number, count=count, real=real))
    wrapper.chmod(0o755)
    s.submit({"PATH": f"{wrapper.parent}:{os.environ['PATH']}"})
    s.note(f"at array {number} of 3")
    s.perhaps_submit_soon()


def submitters(s: Scenario) -> None:
    """Two or three at once."""
    count = s.rng.choice([2, 3])
    gaps = [0.0] + [s.rng.uniform(0, SUBMIT_SECONDS / 3) for _ in range(count - 1)]
    _begun_after(gaps, [s.submit] * count)
    s.note(f"{count} within {sum(gaps):.1f} s")


def submitters_and_run(s: Scenario) -> None:
    """Two submitters and a `run` of the same matrix in the same runs directory, at once."""
    actions = [s.submit, s.submit, lambda: s.command("run", "--save-minutes", "0.02")]
    s.rng.shuffle(actions)
    gaps = [0.0, s.rng.uniform(0, SUBMIT_SECONDS / 2), s.rng.uniform(0, SUBMIT_SECONDS / 2)]
    _begun_after(gaps, actions)
    s.note(f"within {sum(gaps):.1f} s")


def _begun_after(gaps: Sequence[float], actions: Sequence[Callable[[], object]]) -> None:
    """Begin each so many seconds after the one before, and wait for all of them."""
    threads = [threading.Thread(target=action) for action in actions]
    for thread, gap in zip(threads, gaps, strict=True):
        time.sleep(gap)
        thread.start()
    for thread in threads:
        thread.join()


def edited_matrix(s: Scenario) -> None:
    """While jobs run and wait, one method is taken out and another's option is changed."""
    s.submit()
    s.random_moment()
    methods = [m for m in s.content["methods"] if m not in ("vanilla", CRD)]
    changed = {"name": "crd", "options": {**CRD["options"], "negatives": 128}}
    s.rewrite({**s.content, "methods": [*methods, changed]})
    said = s.command("status").said
    if s.tasks() and "no longer in the matrix" not in said:
        s.wrong.append(f"status does not mention the jobs of removed runs:\n{said}")
    if s.rng.random() < 0.5:
        done = s.command("cancel", "--removed", "--yes")
        s.note(f"cancel --removed: exit code {done.code}", 0)
        if done.code:
            s.wrong.append(f"cancel --removed: exit code {done.code}: {done.said}")


def edited_plugin(s: Scenario) -> None:
    """While jobs wait, a plugin is edited, and after they ended as it was before."""
    plugin = s.folder / s.content["plugins"][0]
    before = plugin.read_text()
    s.submit()
    s.random_moment()
    s.oddities = True
    plugin.write_text(f"{before}\nEDITED = True\n")
    s.wait_for_queue()
    plugin.write_text(before)
    s.note("as before", 0)


def sbatch_hangs(s: Scenario) -> None:
    """It does not answer; the job was accepted, or not."""
    number, is_sent = s.rng.randint(1, 3), s.rng.random() < 0.5
    real, count = shutil.which("sbatch"), s.folder / "calls"
    wrapper = s.folder / "bin" / "sbatch"
    wrapper.parent.mkdir()
    call, how = (f'{real} "$@" >/dev/null', "after") if is_sent else ("", "before")
    text = HANGING.format(number=number, how=how, count=count, real=real, call=call)
    wrapper.write_text(text)
    wrapper.chmod(0o755)
    done = s.submit({"PATH": f"{wrapper.parent}:{os.environ['PATH']}"})
    for process in processes({f"KD_SCENARIO={s.name}"}):
        if process.words[:2] == ["sleep", "100000"]:
            s.wrong.append("a child of sbatch is left")
            os.kill(process.pid, signal.SIGKILL)
    if count.read_text().count("\n") < number:
        raise MissedError(f"there were fewer than {number} arrays")
    if "nothing was" in done.said or not done.code:
        s.wrong.append(f"submit: exit code {done.code}: {done.said}")
    s.note(f"at array {number} of 3, {how} it was accepted")


def dies_before_claiming(s: Scenario) -> None:
    """A worker is killed; the job that is sent next ends in its setup lines."""
    s.submit()
    task = s.rng.choice(s.random_moment())
    s.hit(task, *KILLED)
    if not s.cluster.kill_python(task):
        raise MissedError(f"{task.id} had no Python any more")
    s.wait_for_queue()
    if not re.search("lost|to do|pending", " ".join(state for _, state in s.states().values())):
        raise MissedError(f"{task.id} had published its result before it was killed")
    flags, s.flags = s.flags, (*s.flags, "--setup", "exit 3")
    if "sent" not in s.submit().said:
        s.wrong.append("submit sent nothing after a worker was killed")
    s.flags = flags
    s.wait_for_queue()
    for run, (what, state) in s.states().items():
        if not re.match("done|lost|to do|blocked|pending|failed", state):
            s.wrong.append(f"{what} ({run}) is {state}")
    s.note("its successor ended with exit code 3")  # that submit was part of the fault


def controller_away(s: Scenario) -> None:
    """slurmctld is down for a while: nobody is told anything false, and nothing is sent twice."""
    s.submit()
    s.random_moment()
    s.cluster.stop_controller()
    try:
        for verb in ("status", "submit", "cancel"):
            done = s.command(verb, *(() if verb == "status" else ("--yes",)))
            if verb != "status" and s.is_all_done():
                raise MissedError("all was done before everybody had asked")
            if (done.code == 0) is (verb != "status") or "Traceback" in done.said:
                s.wrong.append(f"{verb} without a controller: exit code {done.code}: {done.said}")
            if "none of these runs" in done.said or "nothing to send" in done.said:
                s.wrong.append(f"{verb} without a controller: {done.said}")
    finally:
        s.cluster.restart_controller()
    s.note("it answers again", 0)


def zombie(s: Scenario) -> None:
    """A worker stands still, its node is lost and its task starts elsewhere; then it goes on."""
    s.submit()
    task = s.rng.choice(s.random_moment())
    pids = s.cluster.workers(task)
    if not s.cluster.signal_python(task, signal.SIGSTOP):
        raise MissedError(f"{task.id} had no Python any more")
    s.hit(task, "NODE_FAIL", node=task.node)
    s.cluster.kill_slurmd(task.node)
    s.cluster.call("scontrol", "update", f"nodename={task.node}", "state=down", "reason=fault")
    try:
        _wait_for_another(s, task.id, task.node)
        time.sleep(s.rng.uniform(0, 4.0))
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        s.note("it was woken", 0)
        wait_until(lambda: not any(map(_is_there, pids)), 60, "the zombie goes on")
    finally:
        s.cluster.tool("start-node", task.node)


def _wait_for_another(s: Scenario, task: str, node: str) -> None:
    def has_come() -> bool:
        return any(t.id == task and t.is_running and t.node != node for t in s.tasks())

    wait_until(has_come, 180, f"{task} does not start elsewhere")


def _is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
