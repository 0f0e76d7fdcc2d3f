"""The page about workers that share a GPU."""

from __future__ import annotations

from experiments.local import calibration
from experiments.local.calibration import Measured
from tests.experiments import cli
from tools.reports import workers_per_gpu


def test_a_section_per_pair_with_the_devices_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        calibration, "measure", lambda s, d, n, note: Measured(n, 100.0 * min(n, 4), n * 10**9)
    )
    matrix = cli.write(tmp_path, pairs=["resnet14 -> resnet8", "resnet14 -> vgg8"])
    output = tmp_path / "page.md"
    arguments = [str(matrix), "--device", "cpu", "--output", str(output)]
    assert workers_per_gpu.main(arguments) == 0
    page = output.read_text()
    assert page.count("Recommended: 4.") == 2
    assert "## resnet14 -> vgg8, kd, batches of 32 made-up 16² images" in page
    assert "| 8         | 400        | 4.00   | 8.0 GB   |" in page
    assert "\n- device: cpu" in page.lower()
    capsys.readouterr()
    assert workers_per_gpu.main([*arguments[:-2], "--pairs", "* -> vgg8"]) == 0
    assert capsys.readouterr().out.count("Recommended") == 1
