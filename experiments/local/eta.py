"""When a matrix will be done: epochs weighted by what they cost, corrected by what they took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

TRUST = 10.0  # seconds of training after which predictions count as little as observations
SMOOTHING = 0.3  # how far the shown time moves to a new estimate; the rest is the old one


@dataclass
class Work:
    """A run's epochs that are to do.

    kind     runs of one kind cost the same per epoch (method and pair)
    seconds  predicted or recorded, per epoch on one worker; None if unknown
    first    whether other runs wait for it: a teacher
    """

    left: int
    kind: Hashable
    seconds: float | None = None
    first: bool = False
    done: int = 0


class Eta:
    """Seconds left. Pure: whoever calls says what time it is, in seconds.

    Runs that others wait for are trained first, side by side at most as many as there are; the
    rest keeps all workers busy. How well that describes the past corrects the future.
    """

    def __init__(self, works: dict[str, Work], workers: int, now: float) -> None:
        self.works, self.workers, self.start = works, max(1, workers), now
        self.is_predicted = any(work.seconds for work in works.values())
        self.observed: dict[Hashable, tuple[float, int]] = defaultdict(lambda: (0.0, 0))
        self.shown: float | None = None
        self.when = now
        if self.is_predicted:
            self.shown = self._schedule(left=True)

    def epochs(self, run: str, count: int, now: float, seconds: float | None = None) -> None:
        """``count`` epochs of a run are done; they took ``seconds`` of one worker, if known."""
        work = self.works.get(run)
        if work is None:
            return
        count = min(count, work.left)
        work.left -= count
        work.done += count
        if seconds is not None and count:
            total, number = self.observed[work.kind]
            self.observed[work.kind] = total + seconds, number + count
        self._update(now)

    def ended(self, run: str, now: float) -> None:
        """A run has ended, perhaps early: nothing of it is left."""
        if run in self.works:
            self.works[run].left = 0
            self._update(now)

    def seconds_left(self, now: float) -> float | None:
        """None before anything is known."""
        return None if self.shown is None else max(0.0, self.shown - (now - self.when))

    def fraction(self) -> float:
        """How much of the work is done, 0 to 1, by cost."""
        costs = self._costs()
        done = sum(work.done * costs[run] for run, work in self.works.items())
        left = sum(work.left * costs[run] for run, work in self.works.items())
        return done / (done + left) if done + left else 1.0

    def _update(self, now: float) -> None:
        left, done = self._schedule(left=True), self._schedule(left=False)
        # Without observed seconds, predictions may have another unit than this machine's time.
        trust = TRUST if self.is_predicted or self.observed else 0.0
        if done + trust == 0:
            return
        estimate = left * (now - self.start + trust) / (done + trust)
        before = self.seconds_left(now)
        if before is not None and left:
            estimate = before + SMOOTHING * (estimate - before)
        self.shown, self.when = estimate, now

    def _schedule(self, left: bool) -> float:
        """The seconds that what is left, or what is done, should take."""
        costs = self._costs()
        parts: dict[bool, list[float]] = {True: [], False: []}
        for run, work in self.works.items():
            parts[work.first].append((work.left if left else work.done) * costs[run])
        first = [seconds for seconds in parts[True] if seconds]
        alone = sum(first) / min(self.workers, len(first)) if first else 0.0
        rest = [seconds for seconds in parts[False] if seconds]
        return alone + (sum(rest) / min(self.workers, len(rest)) if rest else 0.0)

    def _costs(self) -> dict[str, float]:
        """Seconds per epoch of every run: observed for its kind, else predicted and corrected."""
        means = {kind: total / number for kind, (total, number) in self.observed.items()}
        both = [w for w in self.works.values() if w.kind in means and w.seconds]
        predicted = sum(work.seconds or 0.0 for work in both)
        correction = sum(means[w.kind] for w in both) / predicted if predicted else 1.0
        known = {
            run: means.get(w.kind, w.seconds * correction if w.seconds else None)
            for run, w in self.works.items()
        }
        usual = _mean(cost for cost in known.values() if cost is not None)
        return {run: usual if cost is None else cost for run, cost in known.items()}


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values) if values else 1.0
