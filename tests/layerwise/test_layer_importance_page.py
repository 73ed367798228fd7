"""Every code block of docs/layer-importance.md runs, in order, and its pictures are there."""

import re
import sys
from pathlib import Path

import torch

import infoprune as ip

PAGE = Path(__file__).parents[2] / "docs" / "layer-importance.md"
TEXT = PAGE.read_text(encoding="utf-8")


def unhurried(about, device, measure):
    """Coefficients of a machine without noise, for layers and for the network."""
    return [1e-2, 0.01, 0.01, 0.1] if about[0] == "layer" else [1.0, 0.0, 1.0]


def test_every_block_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.modules["infoprune.budgets.latency"], "_cached", unhurried)
    torch.manual_seed(0)
    assert ip.budgets.latency
    names = {}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)):
        exec(compile(block, f"{PAGE.name}, block {number + 1}", "exec"), names)
    assert {path.name for path in tmp_path.glob("*.png")} == {"importance.png", "channels.png", "compute.png"}


def test_pictures_exist():
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", TEXT)
    assert len(pictures) == 3
    assert all((PAGE.parent / picture).is_file() for picture in pictures)
