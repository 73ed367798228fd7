"""Pruning in the middle of a DDP training: two workers, one network."""

import importlib.util
import statistics
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tests.two_processes import together
from torch import nn

import infoprune as ip

SCRIPT = Path(__file__).parents[2] / "integrations" / "ddp" / "prune_midway.py"


def script():
    spec = importlib.util.spec_from_file_location("prune_midway", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def work(rank, folder):
    ddp, optimizer, losses = script().train(SimpleNamespace(steps=20, macs=0.5, out=str(folder / "out")))
    momentum = {tuple(p.shape): tuple(optimizer.state[p]["momentum_buffer"].shape) for p in ddp.parameters()}
    weights = {name: value.tolist() for name, value in ddp.module.state_dict().items()}
    fits = all(shape == buffer for shape, buffer in momentum.items())
    return {"losses": losses, "weights": weights, "fits": fits, "refused": refused(ddp)}


def refused(ddp):
    plan = ip.plan(ddp, torch.zeros(1, 3, 16, 16), ip.importance.CapacityImportance(), rates=0.25)
    try:
        ip.prune_(ddp, torch.zeros(1, 3, 16, 16), plan)
    except TypeError as error:
        return str(error)
    return None


@pytest.mark.alone
def test_workers_go_on_with_one_pruned_network(tmp_path):
    one, other = together(tmp_path, lambda rank: work(rank, tmp_path))
    learned = [name for name in one["weights"] if "running" not in name]  # averages are each worker's own till it steps
    assert all(one["weights"][name] == other["weights"][name] for name in learned)
    assert one["losses"] != other["losses"]
    assert one["fits"]
    before, after = one["losses"][6:10], one["losses"][12:]  # two steps after the cut at the tenth it has recovered
    assert statistics.mean(after) < statistics.mean(before) < statistics.mean(one["losses"][:4])
    module = script()
    model = ip.load(tmp_path / "out", factory=module.Net)
    dense, x = module.Net(), torch.zeros(1, 3, 16, 16)
    assert ip.measure(model, x).macs <= 0.5 * ip.measure(dense, x).macs
    assert {name: value.tolist() for name, value in model.state_dict().items()} == one["weights"]
    assert one["refused"].endswith("prune model.module, then wrap it again")  # the wrapper itself


def test_fsdp_is_told_in_a_sentence(monkeypatch):
    kind = type("FullyShardedDataParallel", (nn.Module,), {"forward": lambda self, x: x})
    with pytest.raises(ip.errors.Untraceable, match="flattens its parameters; prune the network before it is wrapped"):
        ip.plan(nn.Sequential(kind()), torch.zeros(1, 3), ip.importance.CapacityImportance(), rates=0.5)


@pytest.mark.slow
def test_the_script_runs_under_torchrun(tmp_path):
    words = ["-m", "torch.distributed.run", "--nproc-per-node", "2", str(SCRIPT), "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "parameters" in done.stdout
