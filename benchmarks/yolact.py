"""YOLACT at 550 x 550: its multiply-adds beside the published ones, then a third of them pruned, saved and loaded.

    python benchmarks/yolact.py

Table VI of the capacity and independence paper: 59.29 G before, 38.97 G after (-34.3 %). Weights are random: what is
measured is the plan's price, the built model's, and that the artefact computes the same.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

import infoprune as ip
from infoprune.models import yolact_resnet50_fpn

PUBLISHED, KEEP = 59.29e9, 1 - 0.343


def counted_by_layers(model: nn.Module, x: torch.Tensor) -> int:
    """Ours, and one operation for every biased output, and two for every output of a batch norm."""
    extra: list[int] = []

    def note(layer: nn.Module, _: object, out: torch.Tensor) -> None:
        extra.append(out.numel() * (2 if isinstance(layer, nn.BatchNorm2d) else 1))

    biased = [layer for layer in model.modules() if getattr(layer, "bias", None) is not None]
    handles = [layer.register_forward_hook(note) for layer in biased]
    macs = ip.measure(model, x).macs
    for handle in handles:
        handle.remove()
    return macs + sum(extra)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.manual_seed(0)
    model, x = yolact_resnet50_fpn().eval(), torch.rand(1, 3, 550, 550)
    dense = ip.measure(model, x)
    by_layers = counted_by_layers(model, x)
    print(f"dense: {dense.macs / 1e9:.2f} G multiply-adds, {dense.params / 1e6:.2f} M parameters")
    print(f"with biases and batch norms, as by layers: {by_layers / 1e9:.2f} G; published {PUBLISHED / 1e9:.2f} G")
    started = time.process_time()
    importance = ip.importance.CapacityIndependenceImportance()
    plan = ip.plan(model, x, importance, budgets=[ip.budgets.macs(keep=KEEP)])
    print(f"planned in {time.process_time() - started:.0f} s of CPU: {len(plan.edits)} sites shrink")
    print(f"certificate: {ip.certificate_of(model, x, plan)}")
    ip.prune_(model, x, plan, certify=False)
    after = ip.measure(model, x)
    print(f"planned {plan.prices['macs'].after:,}, counted {after.macs:,} ({after.macs / dense.macs - 1:+.2%})")
    print(f"parameters {after.params / 1e6:.2f} M ({after.params / dense.params - 1:+.1%})")
    print(f"pruned, counted by layers: {counted_by_layers(model, x) / 1e9:.2f} G")
    with tempfile.TemporaryDirectory() as place, torch.no_grad():
        again = ip.load(ip.save(Path(place) / "yolact", model, plan))
        mine, theirs = model(x)[0], again(x)[0]
        same = all(torch.equal(mine[name], theirs[name]) for name in mine)
        print(f"loaded: {len(theirs['boxes'])} detections, {'bitwise the same' if same else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
