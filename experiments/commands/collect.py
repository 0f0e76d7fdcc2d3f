"""`collect`: finished runs of several directories as one board file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.activity import activity
from experiments.commands import places
from experiments.commands.arguments import output_file
from experiments.commands.common import Verbs, add_data_flags, add_verb
from experiments.wording import plural

if TYPE_CHECKING:
    from experiments.matrix.run_spec import RunSpec
    from results.gathering import Gathered, Keep, Place


def collect(args: argparse.Namespace) -> int:
    """Gather finished runs of directories and board files into one board file.

    The same run in two places counts once; where its results differ, nothing is written and the
    error names both.
    """
    _check(args)
    from results.garbage import no_collection

    wanted = _wanted(args)
    with no_collection():
        _write(args, _keep(wanted))
    return 0


def _write(args: argparse.Namespace, keep: Keep) -> None:
    """Write the board, and print what it is made of."""
    from results import board_file, gathering, predictions_beside

    with activity("reading results"):
        gathered = gathering.gather(args.places, keep)
    _require_runs(args, gathered)
    runs = list(gathered.runs.values())
    with activity(f"writing {args.output}"):
        # Predictions first: the output may be one of the boards that are read.
        copied = predictions_beside.copy(runs, args.output) if args.predictions else None
        left_out: dict[Path, str] = {}
        board_file.write(args.output, gathering.lines(runs, args.history, left_out))
    _warn(gathered, left_out)
    for line in [*map(_about, gathered.places), *_notes(gathered)]:
        print(line)
    places_of = [(one, one.file.parent) for one in runs]
    measured = sum(
        one.measured and at / board_file.MEASURES not in left_out for one, at in places_of
    )
    begun = sum(one.history and at / board_file.HISTORY not in left_out for one, at in places_of)
    beside = f", {begun:,} with their history" if args.history else ""
    beside += "" if copied is None else f", {copied:,} with predictions"
    print(f"wrote {args.output}: {plural(len(runs), 'run')}, {measured:,} with measures{beside}")


# ---- what is asked for ---------------------------------------------------------------------------


def _check(args: argparse.Namespace) -> None:
    """Raise InputError for an output or a place that cannot be one."""
    from experiments.errors import InputError

    if args.output.suffix != places.ENDING:
        raise InputError(f"--output {args.output}: expected a name that ends in {places.ENDING}")
    places.check(args.places)


def _wanted(args: argparse.Namespace) -> dict[str, RunSpec] | None:
    """The runs of the matrices and of their probes, by id; None: all that are found.

    Those of a plugin may have other ids in each place, see `plan.earlier_code`.
    """
    if not args.matrices:
        return None
    from experiments.plan.plan import prepare
    from experiments.plan.workspace import Workspace

    wanted: dict[str, RunSpec] = {}
    for place in args.places:
        workspace = Workspace(place, args.data, args.device, tuple(args.plugin))
        for matrix in args.matrices:
            plan = prepare(matrix, workspace, strict=False)
            probed = plan.matrix.transfer.datasets if plan.matrix.transfer else ()
            plans = [plan, *(prepare(matrix, workspace, None, False, p.name) for p in probed)]
            for each in plans:
                if each.expansion.choices:
                    each.statuses()  # makes the choices that can be made
                wanted |= {spec.id: spec for spec in each.expansion.runs}
    return wanted


def _keep(wanted: dict[str, RunSpec] | None) -> Keep:
    """Whether a record is asked for: of the matrices, and made with today's options."""
    if wanted is None:
        return lambda record: True
    from experiments.matrix.run_spec import is_current

    return lambda record: record.run in wanted and is_current(record.spec, wanted[record.run])


def _require_runs(args: argparse.Namespace, gathered: Gathered) -> None:
    """Raise InputError for places without any finished run, and if none is of the matrices."""
    from experiments.errors import InputError, together

    empty = [one for one in gathered.places if not one.finished + one.unwanted]
    error = together(f"{one.path}: no finished run there{_begun(one)}" for one in empty)
    if error:
        raise error
    if not gathered.runs:
        matrices = ", ".join(map(str, args.matrices))
        raise InputError(f"--matrix {matrices}: none of its runs is finished in these places")


# ---- what is said --------------------------------------------------------------------------------


def _warn(gathered: Gathered, left_out: dict[Path, str]) -> None:
    """Name, on standard error, what is on no line of the board because it cannot be read."""
    from experiments.errors import MOST

    broken = [text for place in gathered.places for text in place.broken]
    lines = [f"note: left out: {' '.join(text.split())}" for text in [*broken, *left_out.values()]]
    for line in lines[:MOST]:
        print(line, file=sys.stderr)
    if lines[MOST:]:
        print(f"note: left out: … and {len(lines) - MOST} more", file=sys.stderr)


def _about(place: Place) -> str:
    """ "runs: 120 runs, 3 directories without a result"."""
    parts = [plural(place.finished, "run")]
    if place.again:
        parts.append(f"{place.again:,} of them found before, with equal results")
    if place.unwanted:
        parts.append(f"{place.unwanted:,} more left out: of no matrix, or stale")
    return f"{place.path}: {', '.join(parts)}{_begun(place)}"


def _begun(place: Place) -> str:
    if not place.unfinished:
        return ""
    return f", {plural(place.unfinished, 'directory', 'directories')} without a readable result"


def _notes(gathered: Gathered) -> Sequence[str]:
    """Mixtures that a table of these runs may have."""
    from results import caveats

    labeled = [(_method(one.record.spec), one.record) for one in gathered.runs.values()]
    return [f"note: {text}" for text in caveats.of_a_collection(labeled)]


def _method(spec: dict[str, object]) -> str:
    return "probe" if spec.get("source") else str(spec.get("method"))


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    verb = add_verb(verbs, "collect", collect)
    verb.set_defaults(loads_torch=False)  # only the runs of a matrix need it
    verb.add_argument(
        "places", nargs="+", type=Path, metavar="DIR", help="a runs directory, or a board file"
    )
    verb.add_argument(
        "--output",
        type=output_file,
        required=True,
        metavar="NAME.jsonl",
        help="write this board file",
    )
    verb.add_argument(
        "--matrix",
        type=Path,
        action="append",
        dest="matrices",
        default=[],
        help="only the runs of this matrix, and its probes (repeatable)",
    )
    verb.add_argument(
        "--history",
        action="store_true",
        help="add the runs' histories, for their curves (about 120 bytes per epoch and run: 30 kB "
        "for 240 epochs)",
    )
    verb.add_argument(
        "--predictions",
        action="store_true",
        help="copy the runs' predictions to NAME.predictions/ beside the board",
    )
    add_data_flags(verb)
