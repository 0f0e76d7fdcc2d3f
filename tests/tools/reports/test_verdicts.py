"""The simulation of verdicts, on few tables."""

from __future__ import annotations

from tools.reports import verdicts


def test_the_report_has_every_part_and_repeats(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(verdicts, "SIZES", ((6, 5),))
    first, second = tmp_path / "a.md", tmp_path / "b.md"
    for file in (first, second):
        assert verdicts.main(["--tables", "8", "--output", str(file)]) == 0
    text = first.read_text()
    assert text == second.read_text()
    for title in ("False verdicts", "Power", "Pairs that share", "Within one pair"):
        assert f"## {title}" in text
    assert text.count("| 6 ") == 6  # three interactions in each of two parts


def test_shared_baselines_are_what_they_say():
    """Many tables of no difference: as twelve units too many verdicts, as six units not."""
    line = verdicts.shared_baselines(300).splitlines()[-1]
    naive, units = (float(cell.split("±")[0]) for cell in line.strip("|").split("|"))
    assert naive > 10 > 8 > units
