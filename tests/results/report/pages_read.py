"""What a browser would find in a page's HTML: tables, ids, links, and anything that could run."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_CELLS = ("td", "th")


@dataclass
class Table:
    """The texts of a table, row by row; ``attributes`` of its element and of its first parents."""

    view: str
    rows: list[list[str]] = field(default_factory=list)


class Read(HTMLParser):
    """A page that was read."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: list[Table] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self._view = ""
        self._cell: list[str] | None = None
        self._in_script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.handlers += [name for name in found if name.startswith("on")]
        self.ids += [found["id"] or ""] if "id" in found else []
        address = found.get("href", "data:,")  # of an icon
        self.links += [address or ""] if address != "data:," else []
        self._view = found.get("data-view") or self._view
        self._in_script = tag in ("script", "style")
        if tag == "table":
            self.tables.append(Table(self._view))
        elif tag == "tr":
            self.tables[-1].rows.append([])
        elif tag in _CELLS:
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False
        if tag in _CELLS and self._cell is not None:
            self.tables[-1].rows[-1].append(" ".join("".join(self._cell).split()))
            self._cell = None

    def handle_data(self, data: str) -> None:
        if not self._in_script:
            self.text += data
        if self._cell is not None:
            self._cell.append(data)
