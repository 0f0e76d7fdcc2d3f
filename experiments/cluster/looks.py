"""Look at a plan's runs again and again: what is done is remembered, and quiet times are long."""

from __future__ import annotations

import time
from collections.abc import Callable

from experiments.cluster.queue_status import View, look
from experiments.plan.plan import Plan
from experiments.rundir.status import Seen, State

MOST_SECONDS = 60.0  # between two looks while nothing changes
GROWTH = 1.5  # of the pause, from look to look
# Results are never overwritten, but `retry` may put whole runs aside: everything is read so often.
AFRESH_SECONDS = 600.0


class Looks:
    """Calling it looks; ``pause`` is how many seconds to wait before the next look.

    seconds  the shortest pause, after a look that saw a change
    most     the longest one; equal to ``seconds`` for looks at equal intervals
    failed   whether to ask about the jobs of failed runs, too
    """

    def __init__(
        self,
        plan: Plan,
        seconds: float,
        most: float = MOST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        failed: bool = False,
    ) -> None:
        self.failed = failed
        self.plan, self.shortest, self.longest = plan, seconds, max(seconds, most)
        self.clock, self.pause = clock, seconds
        self.seen: Seen = {}
        self.afresh = clock() + AFRESH_SECONDS
        self.before: object = None

    def __call__(self) -> View:
        if self.clock() >= self.afresh:
            self.seen.clear()
            self.afresh = self.clock() + AFRESH_SECONDS
        view = look(self.plan, self.seen, failed=self.failed)
        for run in [run for run, status in self.seen.items() if status.state != State.DONE]:
            del self.seen[run]
        now = {run: (s.state, s.detail, s.epochs) for run, s in view.statuses.items()}
        quiet = now == self.before
        self.pause = min(self.pause * GROWTH, self.longest) if quiet else self.shortest
        self.before = now
        return view
