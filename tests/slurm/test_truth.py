"""The judge of what `status` says, on looks that are made up."""

from __future__ import annotations

import pytest

from tests.slurm.truth import Look, falsehoods

RUN = "3f2a91c07d"
NOTHING = Look()
DONE, FAILED = Look(done=frozenset({RUN})), Look(failed=frozenset({RUN}))
WAITS, RUNS = Look(queued={RUN: frozenset({"PENDING"})}), Look(queued={RUN: frozenset({"RUNNING"})})
REQUEUED = Look(queued=WAITS.queued, ran=frozenset({RUN}))
LOCAL = Look(working=frozenset({RUN}))
SENT = Look(sent=frozenset({RUN}))
SENT_AND_RAN = Look(sent=SENT.sent, ran=SENT.sent)
RUNS_AGAIN = Look(queued=RUNS.queued, ran=SENT.sent, sent=SENT.sent)
BLOCKED, ODD = Look(blocked=frozenset({RUN})), Look(odd=frozenset({RUN}))
SILENT = Look(queued=WAITS.queued, answers=False)


@pytest.mark.parametrize(
    ("before", "said", "after"),
    [
        (NOTHING, "to do", NOTHING),
        (NOTHING, "to do", WAITS),  # sent while status looked
        (NOTHING, "pending (job 1_0: Priority)", RUNS),
        (WAITS, "pending (job 1_0: Priority)", RUNS),
        (WAITS, "running (job 1_0 on n1)", RUNS),
        (WAITS, "running (epoch 1/3)", DONE),
        (WAITS, "running (epoch 1/3)", NOTHING),
        (RUNS, "pending (job 1_0: BeginTime)", WAITS),  # requeued
        (WAITS, "running (job 1_0 on n1)", REQUEUED),  # started, and its node lost, in between
        (RUNS, "running (epoch 2/3)", NOTHING),
        (RUNS, "lost (job 1_0 ended: FAILED)", NOTHING),
        (RUNS, "running (epoch 2/3)", DONE),
        (RUNS, "done", DONE),
        (RUNS, "failed: Diverged: …", FAILED),
        (LOCAL, "running (epoch 2/3)", LOCAL),
        (NOTHING, "lost (job 1_0 ended: NODE_FAIL)", NOTHING),
        (BLOCKED, "blocked (its teacher (x): failed)", BLOCKED),
        (ODD, "stale (its weights are gone)", ODD),
        (SILENT, "unknown (SLURM does not answer; it was last sent as job 1_0)", SILENT),
        (WAITS, "unknown (SLURM does not answer; it was last sent as job 1_0)", SILENT),
        (SILENT, "pending (job 1_0: Priority)", WAITS),
        (NOTHING, "unknown (sent at 20:15, but sbatch has not answered yet)", WAITS),
        (Look(unsure=frozenset({RUN})), "unknown (sent at 20:15, but …)", WAITS),
        (NOTHING, "pending (job 1_0: Dependency)", SENT),  # and cancelled
        (NOTHING, "running (job 1_0 on n1)", SENT_AND_RAN),  # and ended
        (RUNS, "pending (job 1_0: BeginTime)", RUNS_AGAIN),
    ],
)  # fmt: skip
def test_what_can_have_been_true(before: Look, said: str, after: Look) -> None:
    assert falsehoods(before, {RUN: said}, after) == []


@pytest.mark.parametrize(
    ("before", "said", "after", "why"),
    [
        (NOTHING, "running (epoch 1/3)", NOTHING, "no task of it runs"),  # a claim, nobody alive
        (NOTHING, "pending (job 1_0: Priority)", NOTHING, "no task of it waits"),
        (NOTHING, "done", NOTHING, "no result"),
        (WAITS, "running (job 1_0 on n1)", WAITS, "no task of it runs"),
        (NOTHING, "running (epoch 1/3)", Look(ran=frozenset({RUN})), "no task of it runs"),
        (NOTHING, "running (epoch 1/3)", SENT, "no task of it runs"),
        (RUNS, "pending (job 1_0: BeginTime)", RUNS, "no task of it waits"),
        (NOTHING, "pending (job 1_0: Priority)", Look(ran=SENT.sent), "no task of it waits"),
        (NOTHING, "failed: Diverged", NOTHING, "no error.txt"),
        (NOTHING, "blocked", NOTHING, "nothing blocks it"),
        (NOTHING, "stale", NOTHING, "nothing of it has changed"),
        (DONE, "lost (job 1_0 ended: COMPLETED)", DONE, "it had a result"),
        (DONE, "to do", DONE, "it had a result"),
        (DONE, "running (epoch 3/3)", DONE, "it had a result"),
        (WAITS, "to do", WAITS, "its task is in the queue"),
        (RUNS, "lost (job 1_0 ended: …)", RUNS, "its task is in the queue"),
        (LOCAL, "to do", LOCAL, "its task is in the queue"),
        (SILENT, "to do", SILENT, "does not answer"),
        (WAITS, "unknown (SLURM does not answer)", WAITS, "SLURM answers"),
        (NOTHING, "n/a", NOTHING, "can serve its pair"),
        (NOTHING, "gone", NOTHING, "expected one of done, "),
    ],
)
def test_what_cannot(before: Look, said: str, after: Look, why: str) -> None:
    (line,) = falsehoods(before, {RUN: said}, after)
    assert line.startswith(f"{RUN} was said to be ") and why in line
