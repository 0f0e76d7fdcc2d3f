"""What a page says in sentences, and how it prints values that stand in no table."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from results import verdict_tables
from results.cells import UNSUPPORTED
from results.report.content import Run
from results.statistics import ABOVE, BELOW, UNDECIDED
from results.verdicts import Comparison, Verdicts


@dataclass(frozen=True)
class Finding:
    """The methods of one verdict: its heading, and label -> "+1.20 [+0.30, +2.10]"."""

    heading: str
    kind: str
    methods: Mapping[str, str]


def findings(verdicts: Verdicts) -> list[Finding]:
    """What the table allows to conclude: the methods above the baseline, below, not separated."""
    ordered = sorted(verdicts.comparisons.values(), key=lambda c: -c.mean)
    headings = (
        (ABOVE, f"Above {verdicts.baseline}"),
        (BELOW, f"Below {verdicts.baseline}"),
        (UNDECIDED, f"Not separated from {verdicts.baseline}"),
    )
    found = [
        Finding(heading, kind.replace(" ", "-"), dict(_differences(ordered, kind)))
        for kind, heading in headings
    ]
    return [one for one in found if one.methods]


_FEW = 6  # methods that a sentence lists


def answer(verdicts: Verdicts, best: Sequence[str]) -> str:
    """The conclusions in two sentences; ``best``: the methods among which the best one is."""
    found = [c.headline.verdict for c in verdicts.comparisons.values() if c.headline]
    if not found:
        return ""
    above, below, open_ = (found.count(kind) for kind in (ABOVE, BELOW, UNDECIDED))
    said = f"{_are(above, len(found))} above {verdicts.baseline}"
    rest = ((below, "below it"), (open_, "not separated from it"))
    others = [f"{_are(n)} {place}" for n, place in rest if n]
    said = f"{'; '.join([said, *others])}."
    return f"{said} {_best(best, verdicts.level)}".strip()


def _are(count: int, of: int | None = None) -> str:
    whole = f" of {of} methods" if of else ""
    return f"{count or 'None'}{whole} {'is' if count < 2 else 'are'}"


def _best(best: Sequence[str], level: float) -> str:
    if len(best) > _FEW:
        return f"{len(best)} cannot be told apart from the best."
    *others, last = best or ("",)
    names = f"{', '.join(others)} or {last}" if others else last
    return f"With {100 * (1 - level):g} % confidence, the best is {names}." if names else ""


def _differences(ordered: list[Comparison], kind: str) -> Iterator[tuple[str, str]]:
    for one in ordered:
        if one.headline and one.headline.verdict == kind:
            text = verdict_tables.interval(one.headline)
            yield one.method, text.removesuffix(f" {kind}")


def flat(content: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """A nested mapping as lines: ("recipe.lr", "0.05")."""
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{name}.")
        elif value not in (None, {}, [], ()):
            yield name, _text(value)


STATES = {  # what those mean that a person has to know
    "running": "it saves its state again and again; one that has stopped doing so becomes lost",
    "pending": "its job waits in the queue",
    "failed": "it diverged or ended with an error; the command retry lets it be tried again",
    "blocked": "it waits for a teacher or a student that failed",
    "stale": "made with other options or code than today's: never mixed in, never overwritten",
    "lost": "its job ended early; it goes on from its last save when it is trained again",
    "n/a": "the method cannot serve this pair",
    "unknown": "it was sent to a cluster that does not answer",
}


def left(runs: Iterable[Run]) -> str:
    """How long training takes that is left, one run after the other: "12 hours".

    By the median time of an epoch of the pair's finished runs, else of all; empty where nothing is
    left, or no run is finished.
    """
    known = list(runs)
    paces: dict[str, list[float]] = {}
    for run in known:
        if run.record and run.record.seconds and run.epochs:
            paces.setdefault(run.pair, []).append(run.record.seconds / run.epochs)
    every = [pace for of_pair in paces.values() for pace in of_pair]
    typical = {pair: median(of_pair) for pair, of_pair in paces.items()}
    missing = [run for run in known if not run.record and run.state != UNSUPPORTED]
    if not every or not missing:
        return ""
    usual = median(every)
    return _about(sum((r.epochs - r.epoch) * typical.get(r.pair, usual) for r in missing))


def _about(seconds: float) -> str:
    for size, name in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {name}"
    return f"{seconds:.0f} seconds"


def command(line: str, **flags: Any) -> str:
    """A command line with flags; empty where there is no line."""
    given = (f" --{name} {shlex.quote(_arrow(str(value)))}" for name, value in flags.items())
    return line and line + "".join(given)


def _arrow(text: str) -> str:
    return text.replace(" → ", " -> ")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)  # a report has millions of numbers
    return json.dumps(value, ensure_ascii=False)


def duration(seconds: float | None) -> str:
    """ "3 h 12 min"; empty where it is not known."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"
