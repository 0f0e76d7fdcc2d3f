"""The charts of a board as figures of a paper: SVG and PDF, of one column's width.

Nothing is read from a network: no address is allowed, and text is set in the fonts that are there.
Equal boards give equal bytes of SVG; PDF numbers the glyphs of its fonts anew each time.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from results.layout import TableError
from results.records import write_atomic
from results.report import chart_ranks
from results.report.chart import Chart
from results.report.charts import board_charts
from results.report.content import Content

WIDTH = 480  # pixels of 1/72 inch, so 6.7 inches; a page of text is as wide
_LONGEST = 200  # bytes of a file's name; file systems allow 255, and the ending comes
# What XML cannot hold: vl-convert ends the whole process there.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CONFIG = {"view": {"stroke": "#ccc"}, "axis": {"domainColor": "#888", "tickColor": "#888"}}

Choice = tuple[tuple[str, str], ...]  # (parameter, value)


def write(
    content: Content,
    folder: Path,
    methods: Sequence[str] | None = None,
    pairs: Sequence[str] | None = None,
    taken: set[str] | None = None,
) -> list[Path]:
    """Write every chart of the board, as SVG and as PDF; returns the files.

    A chart with controls becomes one figure per choice. Only the methods and pairs given are shown,
    as the board names them; TableError for one that it does not have, or if nothing can be drawn.
    Mean ranks are left out where they cannot be of these methods and pairs. ``taken`` are names of
    other boards' figures in the folder; those of this one are added.
    """
    _check("method", methods, content.board.methods)
    _check("pair", pairs, content.board.pairs)
    figures = list(_figures(content, methods, pairs, set() if taken is None else taken))
    if not figures:
        raise TableError(f"{content.name}: no chart can be drawn of these methods and pairs")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, spec in figures:
        for ending, data in _drawn(spec).items():
            written.append(folder / f"{name}{ending}")
            write_atomic(written[-1], data)
    return written


def _check(kind: str, given: Sequence[str] | None, known: Sequence[str]) -> None:
    for name in given or ():
        if name not in known:
            raise TableError(f"{kind} {name!r}: not of this board: {', '.join(known)}")


def _figures(
    content: Content,
    methods: Sequence[str] | None,
    pairs: Sequence[str] | None,
    taken: set[str],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names without ending, unique, and specifications with data."""
    shown = {"methods": methods, "pairs": pairs}
    for chart in board_charts(content):
        if not _has_content(chart, methods, pairs):
            continue
        for choice in _choices(chart, pairs):
            words = [content.name, chart.name, *(value for _, value in choice)]
            yield _unique(words, taken), _light(chart, {**shown, **dict(choice)})


def _has_content(chart: Chart, methods: Sequence[str] | None, pairs: Sequence[str] | None) -> bool:
    if chart.name == "ranks":
        return chart_ranks.can_be_ranked(chart, methods, pairs)
    rows = (row for rows in chart.data.values() for row in rows if "method" in row)
    return any(
        (methods is None or row["method"] in methods)
        and (pairs is None or not set(pairs).isdisjoint(_listed(row["pair"])))
        for row in rows
    )


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else value


def _choices(chart: Chart, pairs: Sequence[str] | None) -> Iterator[Choice]:
    """All combinations of what the chart's controls have, of the pairs that are shown."""
    lists = [
        [
            (control.signal, value)
            for value in control.choices
            if control.signal != "pair" or pairs is None or value in pairs
        ]
        for control in chart.controls
    ]
    return itertools.product(*lists)


def _unique(words: Sequence[str], taken: set[str]) -> str:
    """A file name of words: "digits-curves-resnet20-resnet8-accuracy"; at most 100 characters.

    Case does not tell two of them apart: some file systems ignore it.
    """
    tidy = (re.sub(r"[^\w.]+", "-", word).strip("-.") for word in words)
    whole = "-".join(word for word in tidy if word)[:100]
    name = whole.encode("utf-8", "ignore")[:_LONGEST].decode(errors="ignore")
    different = (name, *(f"{name}-{i}" for i in range(2, len(taken) + 3)))
    found = next(one for one in different if one.casefold() not in taken)
    taken.add(found.casefold())
    return found


def _light(chart: Chart, values: Mapping[str, Any]) -> dict[str, Any]:
    """The specification on white, of a fixed width, with its parameters set."""
    spec = chart.whole()
    parameters = [
        {**parameter, "value": values.get(parameter["name"], parameter["value"])}
        for parameter in spec["params"]
    ]
    return {**spec, "params": parameters, "width": WIDTH, "background": "white", "config": _CONFIG}


def _drawn(spec: dict[str, Any]) -> dict[str, bytes]:
    """Ending -> file."""
    import vl_convert

    svg = _numbered(vl_convert.vegalite_to_svg(_printable(spec), allowed_base_urls=[]))
    return {".svg": svg.encode(), ".pdf": vl_convert.svg_to_pdf(svg)}


def _printable(part: Any) -> Any:
    """With a replacement character for each that no SVG can hold.

    "__proto__" gets a space, as in the script of the pages: it is no key of an object of Vega's.
    """
    if isinstance(part, str):
        return "__proto__ " if part == "__proto__" else _NOT_XML.sub("\ufffd", part)
    if isinstance(part, Mapping):
        return {key: _printable(value) for key, value in part.items()}
    return [_printable(value) for value in part] if isinstance(part, list | tuple) else part


def _numbered(svg: str) -> str:
    """The SVG with its gradients numbered from 0: Vega counts all that a process has drawn."""
    names = list(dict.fromkeys(re.findall(r'<linearGradient id="(gradient_\d+)"', svg)))
    for i, name in enumerate(names):
        svg = re.sub(rf'((?:<linearGradient id="|="url\(#)){name}\b', rf"\1gradient_{i}", svg)
    return svg
