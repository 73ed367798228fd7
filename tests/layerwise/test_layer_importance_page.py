"""Every code block of docs/layer-importance.md runs, in order, and its pictures are there."""

import re
import sys
from pathlib import Path

import torch

import infoprune.budgets  # noqa: F401 - its modules are looked up below

PAGE = Path(__file__).parents[2] / "docs" / "layer-importance.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_every_block_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    measuring = sys.modules["infoprune.budgets.latency"]
    monkeypatch.setattr(measuring, "SECONDS", 0.001)
    monkeypatch.setattr(measuring, "NETWORK_SECONDS", 0.1)
    torch.manual_seed(0)
    names = {}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)):
        exec(compile(block, f"{PAGE.name}, block {number + 1}", "exec"), names)
    assert {path.name for path in tmp_path.glob("*.png")} == {"importance.png", "channels.png", "compute.png"}


def test_pictures_exist():
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", TEXT)
    assert len(pictures) == 3
    assert all((PAGE.parent / picture).is_file() for picture in pictures)
