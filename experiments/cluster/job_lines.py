"""What `status` says beside the table: who does not answer, and how jobs ended. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from experiments.cluster import job_words
from experiments.cluster.questions import QueueState
from experiments.cluster.queue_status import View
from experiments.rundir.status import State, Status
from experiments.wording import form, plural

MOST = 10  # lines about jobs; `--each` has all runs
TO_COME = 3  # exit code of `status --exit-code`
NEED_SOMEBODY = {State.FAILED, State.BLOCKED, State.STALE, State.LOST}
HasLog = Callable[[Path], bool]


def silence(view: View) -> list[str]:
    """The first lines of `status` where SLURM or its accounts do not answer; none where they do."""
    unknown = sum(status.state == State.UNKNOWN for status in view.statuses.values())
    them = f"{plural(unknown, 'run')} sent to it {form(unknown, 'is', 'are')} unknown"
    rest = f"{them}, the others are as the disk says" if unknown else "states are as the disk says"
    lines = [f"SLURM does not answer ({error}): {rest}" for error in view.silent]
    lacks = [error for error in view.lacks if not view.silent]
    return lines + [
        f"SLURM's accounts do not answer ({error}): how jobs ended is known for minutes only"
        for error in lacks
    ]


def ends(
    statuses: Mapping[str, Status],
    queue: Mapping[str, QueueState],
    has_log: HasLog = Path.exists,
) -> list[str]:
    """A line for each array and way of ending, about lost and failed runs: where to look."""
    groups: dict[tuple[str, str, str], list[tuple[Status, QueueState]]] = {}
    for run, state in queue.items():
        status = statuses[run]
        if status.state in (State.LOST, State.FAILED) and not state.state:
            array = state.task.partition("_")[0]
            key = (array, status.state, job_words.how(state.end))
            groups.setdefault(key, []).append((status, state))
    lines = [_line(key, members, has_log) for key, members in groups.items()]
    if len(lines) > MOST:
        more = f"… and {plural(len(lines) - MOST, 'more such line')}; --each has every run"
        return [*lines[:MOST], more]
    return lines


def _line(
    key: tuple[str, str, str], members: Sequence[tuple[Status, QueueState]], has_log: HasLog
) -> str:
    """ "jobs 100_0, 100_1 (2 runs lost): TIMEOUT: its time limit passed; log …/100_0_0_log.out"."""
    _, kind, how = key
    status, first = members[0]
    tasks = list(dict.fromkeys(state.task for _, state in members))
    nodes = dict.fromkeys(filter(None, (job_words.node_of(state.end) for _, state in members)))
    cause = job_words.cause(first.end) if kind == State.LOST else ""
    cause = f"blocked: {status.blocked}" if status.blocked else cause
    job = f"{form(len(tasks), 'job', 'jobs')} {_few(tasks)}{' on ' if nodes else ''}{_few(nodes)}"
    count = f"{plural(len(members), 'run')} {kind}"
    return f"{job} ({count}): {how}{f': {cause}' if cause else ''}; {log(first.log, has_log)}"


def _few(names: Collection[str]) -> str:
    """The first names, and how many there are if these are not all."""
    listed = list(names)
    return ", ".join(listed[:3]) + (f", … ({len(listed)} in all)" if len(listed) > 3 else "")


def of_run(status: Status, state: QueueState | None, has_log: HasLog = Path.exists) -> list[str]:
    """What `status --each` adds to a lost or failed run: cause and log of its last job."""
    if state is None or state.state or status.state not in (State.LOST, State.FAILED):
        return []
    if status.state == State.FAILED:
        return [log(state.log, has_log)]
    return [*filter(None, [job_words.cause(state.end)]), log(state.log, has_log)]


def log(path: Path | None, has_log: HasLog = Path.exists) -> str:
    """ "log runs/.slurm/…/100_0_0_log.out", so that it can be pasted; or why there is none."""
    if path is None:
        return "its log is not known"
    if not has_log(path):
        return "no log: its script never began, or could not write there"
    return f"log {shlex.quote(str(path))}"


def exit_code(statuses: Iterable[Status]) -> int:
    """For scripts: 0 all is done or n/a; 1 something needs a person; 3 the rest is to come."""
    statuses = list(statuses)
    states = {status.state for status in statuses}
    refused = any(status.blocked and status.state == State.TODO for status in statuses)
    if refused or states & NEED_SOMEBODY:
        return 1
    return 0 if states <= {State.DONE, State.UNSUPPORTED} else TO_COME
