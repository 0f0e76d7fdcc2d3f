"""What happens to nodes, and to slurmctld while jobs run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tests.slurm.dev_cluster import wait_until
from tests.slurm.scenario import Scenario


def preemption(s: Scenario) -> None:
    """A job of the higher partition takes the node of a running task for some seconds."""
    s.submit()
    task = s.rng.choice(s.random_moment())
    seconds = s.rng.randint(2, 15)
    s.hit(task, "PREEMPTED", node=task.node)
    where = ("-p", "urgent", "-w", task.node, "--exclusive", "-t", "5", "-o", "/dev/null")
    s.cluster.call("sbatch", "-J", "urgent", *where, "--wrap", f"sleep {seconds}")
    s.note(f"{task.node} is taken for {seconds} s", 0)
    s.wait_for_queue()


def node_loss(s: Scenario) -> None:
    """The node of a running task dies without a word, is found down, and comes back."""
    _without(s, lambda node: s.cluster.tool("kill-node", node))


def slurmd_loss(s: Scenario) -> None:
    """The slurmd of a running task dies and its node is set down: the task starts elsewhere, and
    its former process still computes."""
    _without(s, s.cluster.kill_slurmd)


def _without(s: Scenario, kill: Callable[[str], None]) -> None:
    s.submit()
    task = s.rng.choice(s.random_moment())
    node = task.node
    s.hit(task, "NODE_FAIL", node=node)
    kill(node)
    s.cluster.call("scontrol", "update", f"nodename={node}", "state=down", "reason=fault")
    away = s.rng.uniform(2, 15)
    time.sleep(away)
    s.cluster.tool("start-node", node)
    s.note(f"{node} was away for {away:.0f} s", 0)


def controller(s: Scenario) -> None:
    """slurmctld dies and is started again: once while submit is at work, once while jobs run."""
    submitter = threading.Thread(target=s.submit)
    submitter.start()
    arrays, more = s.rng.randrange(4), s.rng.uniform(0, 3.0)
    wait_until(lambda: _sending(s) >= arrays or not submitter.is_alive(), 300, "submit", every=0.01)
    time.sleep(more)
    s.note(f"{more:.2f} s after submit came to array {arrays}")
    s.cluster.restart_controller()
    submitter.join()
    if not s.tasks():  # it could not send anything: this is the one more submit
        s.submit()
    s.random_moment()
    s.cluster.restart_controller()


def _sending(s: Scenario) -> int:
    """How many arrays a submit has come to; 0 once it is the only one at work, -1 before."""
    folder = s.runs / ".slurm"
    return len(list(folder.glob("*/array.json"))) if folder.exists() else -1
