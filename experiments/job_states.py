"""The states that SLURM gives to jobs (`man squeue`, JOB STATE CODES): over, waiting or running."""

from __future__ import annotations

OVER, WAITS, RUNS = "over", "waits", "runs"

# Some are flags, which squeue shows instead of the state below them. A state that is not here
# (of a later SLURM) counts as running: only a known end is an end.
STATES = {
    "BOOT_FAIL": OVER,
    "CANCELLED": OVER,
    "COMPLETED": OVER,
    "DEADLINE": OVER,
    "FAILED": OVER,
    "LAUNCH_FAILED": OVER,
    "NODE_FAIL": OVER,
    "OUT_OF_MEMORY": OVER,
    "PREEMPTED": OVER,
    "RECONFIG_FAIL": OVER,
    "REVOKED": OVER,  # here: another cluster of the federation has started the job
    "TIMEOUT": OVER,
    "CONFIGURING": WAITS,  # it has nodes, which are not ready yet
    "PENDING": WAITS,
    "POWER_UP_NODE": WAITS,
    "REQUEUED": WAITS,  # its former processes are still ending
    "REQUEUE_FED": WAITS,
    "REQUEUE_HOLD": WAITS,  # held until `scontrol release`
    "RESV_DEL_HOLD": WAITS,  # held: its reservation was deleted
    "SPECIAL_EXIT": WAITS,  # held: a site's script put it back because of how it ended
    "COMPLETING": RUNS,  # its processes are ending, and may still write
    "EXPEDITING": RUNS,
    "RESIZING": RUNS,
    "RUNNING": RUNS,
    "SIGNALING": RUNS,
    "STAGE_OUT": RUNS,  # ended, but its files are still being copied
    "STOPPED": RUNS,  # by SIGSTOP; it keeps its cores
    "SUSPENDED": RUNS,  # its cores are lent to other jobs
    "UPDATE_DB": RUNS,
}
ENDED = tuple(state for state, phase in STATES.items() if phase == OVER)
WAITING = tuple(state for state, phase in STATES.items() if phase == WAITS)


def is_over(state: str) -> bool:
    """Whether a job in this state ("TIMEOUT", "CANCELLED by 1000") has ended."""
    return phase(state) == OVER


def is_waiting(state: str) -> bool:
    """Whether a job in this state has not begun, or has been put back."""
    return phase(state) == WAITS


def is_running(state: str) -> bool:
    """Whether a job in this state has its nodes; so it is for states that are not known."""
    return bool(state) and phase(state) == RUNS


def phase(state: str) -> str:
    """OVER, WAITS or RUNS. sacct says who cancelled, and marks states that it cut with a "+"."""
    word = state.partition(" ")[0]
    if word.endswith("+"):
        word = next((known for known in STATES if known.startswith(word[:-1])), word)
    return STATES.get(word, RUNS)
