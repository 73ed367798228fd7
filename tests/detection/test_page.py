"""Every python block of the page runs, in order."""

import re
from pathlib import Path

import torch

PAGE = Path(__file__).parents[2] / "docs" / "detection.md"


def test_every_block_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    namespace: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), namespace)
    assert "losses" in namespace
