"""The scripts and styles of the pages: ours, and the bundled DataTables and Vega of packages.

All are classic scripts. Browsers load no modules from file://, where a report is usually opened.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path

_HERE = Path(__file__).parent / "templates"
_EXPORT = re.compile(r"\bexport\s*\{([^{}]*)\}\s*;?")


def style() -> str:
    """The style sheet of every page."""
    return _datatables("css") + (_HERE / "report.css").read_text(encoding="utf-8")


def script() -> str:
    """What the pages do: filters, sorting, charts."""
    return (_HERE / "report.js").read_text(encoding="utf-8")


@functools.cache
def datatables() -> str:
    """DataTables as `itables` bundles it; sets the global ``DataTable``."""
    text = _datatables("js")
    found = list(_EXPORT.finditer(text))
    if len(found) != 1 or " as default" not in found[0][1]:
        raise RuntimeError(
            "itables: its bundle exports no DataTable; expected itables 2.4 or later"
        )
    names = (part.split(" as ") for part in found[0][1].split(","))
    inner = next(name.strip() for name, outer in names if outer.strip() == "default")
    body = text[: found[0].start()] + f"window.DataTable={inner};" + text[found[0].end() :]
    return f"(()=>{{{body}\n}})();\n"


@functools.cache
def vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as `vl_convert` bundles them; sets ``vegaEmbed``."""
    import vl_convert  # here: it takes a second

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return f"(()=>{{{bundle}\n}})();\n"


def _datatables(ending: str) -> str:
    import itables

    return (Path(itables.__file__).parent / f"html/dt_bundle.{ending}").read_text(encoding="utf-8")


FILES: dict[str, Callable[[], str]] = {
    "report.js": script,
    "report.css": style,
    "datatables.js": datatables,
    "vega.js": vega,
}
