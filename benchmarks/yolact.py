"""YOLACT at 550 x 550: its multiply-adds beside the published ones, then a third of them pruned, saved and loaded.

    python benchmarks/yolact.py

Table VI of the capacity and independence paper: 59.29 G before, 38.97 G after (-34.3 %). Weights are random: what is
measured is the plan's price, the built model's, and that the artefact computes the same.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from results_file import ResultsFile, arguments
from torch import nn

import infoprune as ip
from infoprune.models import yolact_resnet18_fpn, yolact_resnet50_fpn

PUBLISHED, KEEP = (59.29e9, 38.97e9), 1 - 0.343


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
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    results = ResultsFile.of(options, "yolact", ("what",))
    if results.has(what="dense") and results.has(what="pruned"):
        return
    torch.manual_seed(0)
    model, side = (yolact_resnet18_fpn(), 138) if options.smoke else (yolact_resnet50_fpn(), 550)
    model, x = model.eval(), torch.rand(1, 3, side, side)
    dense = ip.measure(model, x)
    counts = {"macs": dense.macs, "by_layers": counted_by_layers(model, x), "params": dense.params}
    results.append({"what": "dense", **counts, "published": PUBLISHED[0]})
    results.append({"what": "pruned", **pruned(model, x, dense), "published": PUBLISHED[1]})


def pruned(model: nn.Module, x: torch.Tensor, dense: ip.Measurement) -> dict:
    """What the plan promises, what the built model has, and what comes back from its folder."""
    started = time.process_time()
    importance = ip.importance.CapacityIndependenceImportance()
    plan = ip.plan(model, x, importance, budgets=[ip.budgets.macs(keep=KEEP)])
    planned_s = round(time.process_time() - started, 1)
    certificate = ip.certificate_of(model, x, plan)
    ip.prune_(model, x, plan, certify=False)
    after = ip.measure(model, x)
    with tempfile.TemporaryDirectory() as place, torch.no_grad():
        again = ip.load(ip.save(Path(place) / "yolact", model, plan))
        mine, theirs = model(x)[0], again(x)[0]
    return {
        "macs": after.macs, "planned": plan.prices["macs"].after, "macs_change": after.macs / dense.macs - 1,
        "by_layers": counted_by_layers(model, x), "params": after.params,
        "params_change": after.params / dense.params - 1, "certificate": certificate.verdict,
        "difference": certificate.difference, "scale": certificate.scale, "sites": len(plan.edits),
        "planned_s": planned_s, "detections": len(theirs["boxes"]),
        "loaded_equal": all(torch.equal(mine[name], theirs[name]) for name in mine),
    }  # fmt: skip


if __name__ == "__main__":
    main()
