"""What docs/first-hour.md shows, as a stranger would type it: its files are written, its commands run in order."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import infoprune as ip
from infoprune.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "first-hour.md").read_text()
FILES = dict(re.findall(r"```(?:python|yaml) (\S+)\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.strip().splitlines()]
TRAIN = """
import os, torch, torch.distributed as dist, torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel
from data import Pictures
from net import Net
from torchvision import transforms as t
dist.init_process_group("gloo")
torch.manual_seed(dist.get_rank())
told = Pictures(True)
told.transform = t.Compose([t.Resize(36), t.CenterCrop(32), t.ToTensor(), t.Normalize((0.5,) * 3, (0.25,) * 3)])
loader = torch.utils.data.DataLoader(told, 12, sampler=torch.utils.data.distributed.DistributedSampler(told))
model = DistributedDataParallel(Net(num_classes=3))
optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
for epoch in range(6):
    loader.sampler.set_epoch(epoch)
    for images, labels in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
if dist.get_rank() == 0:
    torch.save({"epoch": 6, "state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}, "ddp.pth")
"""
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The stranger's folder: pictures of three colours that can be told apart, and the page's files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in ("net", "data"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for c, name in enumerate(("ant", "bee", "cat")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(20):
            pixels = np.random.default_rng(20 * c + i).normal(90, 25, (40, 44, 3)).clip(0, 255)
            pixels[..., c] += 25
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "pictures" / name / f"{i}.png")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def briefly_trained(net):
    """A checkpoint as DistributedDataParallel names things, of a network that has seen a few steps."""
    torch.manual_seed(0)
    model = net.Net(num_classes=3)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for step in range(20):
        labels = torch.arange(12) % 3
        images = torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(step)) * 0.5
        images[range(12), labels] += 0.5
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    torch.save({"epoch": 1, "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, "ddp.pth")


def left_behind(folder):
    """What the hour was for: a report, an ONNX file, a model that loads, and what the two other ways made."""
    import net

    x, dense = torch.zeros(1, 3, 32, 32), net.Net(num_classes=3)
    assert "Against simpler choices" in (folder / "runs" / "recipe" / "report.html").read_text()
    assert (folder / "sensitivity" / "sensitivity.html").is_file()
    assert (folder / "small.onnx").is_file()
    for place, keep in (("runs/recipe/artefact", 0.5), ("quarter", 0.25), ("tuned", 0.25), ("from_script", 0.5)):
        model = ip.load(folder / place, factory=lambda: net.Net(num_classes=3))
        assert ip.measure(model, x).macs <= keep * ip.measure(dense, x).macs, place


def test_fewer_than_twelve_commands_are_needed():
    assert len(COMMANDS) == 10
    assert COMMANDS[0] == "pip install infoprune"
    assert {"net.py", "data.py", "recipe.yaml", "use.py", "prune_tp.py"} == FILES.keys()


def test_the_page_runs_as_it_stands(project, capsys):
    pytest.importorskip("onnxruntime")
    import net

    briefly_trained(net)
    for command in COMMANDS[1:]:
        program, *words = shlex.split(command)
        if program == "infoprune":
            code = main(words)
            assert code == 0, f"{command}\n{capsys.readouterr().err}"
        else:
            runpy.run_path(words[0], run_name="__main__")
    assert "MACs" in capsys.readouterr().out
    left_behind(project)


@pytest.mark.slow
def test_a_stranger_gets_there_with_a_real_ddp_checkpoint_and_processes_of_their_own(project):
    (project / "train.py").write_text(TRAIN)
    python = {"infoprune": [sys.executable, "-m", "infoprune"], "python": [sys.executable]}
    trained = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "train.py"]
    lines = [python[program] + words for program, *words in map(shlex.split, COMMANDS[1:])]
    for words in (trained, *lines):
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=project)
        assert done.returncode == 0, f"{words}\n{done.stderr}"
    left_behind(project)
