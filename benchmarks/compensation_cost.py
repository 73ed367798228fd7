"""CPU time and memory of compensation, beside plain forward passes of the dense network over the same pictures.

    python benchmarks/compensation_cost.py [--nets mobilenetv2 resnet50 ...] [--counts 32 64 128 256]
    python benchmarks/compensation_cost.py --growth     # ResNet-18 of 96 px, from few channels to many, pictures too

Pictures of 224 px are random and so are the weights: time does not depend on them. Half of the units of every site are
cut. Each row is measured in a process of its own; memory is the peak of what was resident during compensation (or the
forward passes, in batches of 32) over what was before.
"""

from __future__ import annotations

import copy
import ctypes
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
import torch_pruning as tp
from memory import resident_mib
from results_file import ResultsFile, arguments
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn

import infoprune as ip

BATCH, SIZE = 32, 224
NETS = {
    "mobilenetv2": "mobilenetv2_100",
    "resnet50": "resnet50",
    "resnet18": "resnet18",
    "vit_s": "vit_small_patch16_224",
    "vit_b": "vit_base_patch16_224",
}
SMALL = 96  # px, of what grows
CHANNELS, COUNTS = (16, 32, 64, 128), (32, 64, 128, 256, 512)  # of its first stage, which the last has eight times
GROWING = [*((channels, 64) for channels in CHANNELS), *((32, count) for count in COUNTS if count != 64)]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--nets", nargs="+", default=["mobilenetv2", "resnet50", "vit_b"], choices=NETS)
    parser.add_argument("--counts", nargs="+", type=int, default=[32, 64, 128, 256], help="pictures")
    parser.add_argument("--growth", action="store_true", help="with channels and with pictures, instead")
    parser.add_argument("--channels", type=int, help="of a ResNet-18 in the place of --nets (for the children)")
    parser.add_argument("--alone", action="store_true", help="measure one row here and print it (for the children)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.smoke:
        options.nets, options.counts = ["resnet18"], [8]
    if options.alone:
        print(json.dumps(alone(options.nets[0], options.counts[0], options.channels)))
        return
    results = ResultsFile.of(options, "compensation_cost", key=("net", "pictures"))
    for channels, count in GROWING if options.growth else ():
        net = f"resnet18 of {channels} channels"
        if not results.has(net=net, pictures=count):
            told = in_a_child("resnet18", count, channels)
            results.append({"net": net, "pictures": count, "channels": channels, "size": SMALL, **told})
    if options.growth:
        return
    for net in options.nets:
        for count in options.counts:
            if not results.has(net=net, pictures=count):
                results.append({"net": net, "pictures": count, **in_a_child(net, count)})


def in_a_child(net: str, count: int, channels: int | None = None) -> dict[str, Any]:
    words = [sys.executable, "-W", "ignore", __file__, "--alone", "--nets", net, "--counts", str(count)]
    words += [] if channels is None else ["--channels", str(channels)]
    child = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(child.stdout.splitlines()[-1])


def network(net: str, channels: int | None) -> nn.Module:
    if channels is None:
        return timm.create_model(NETS[net], pretrained=False).eval()
    return ResNet(BasicBlock, (2, 2, 2, 2), channels=tuple(channels * 2**stage for stage in range(4))).eval()


def alone(net: str, count: int, channels: int | None = None) -> dict[str, Any]:
    """CPU seconds and MiB of the forward passes and of compensation, and how many times as long it takes."""
    torch.manual_seed(0)
    dense, size = network(net, channels), SIZE if channels is None else SMALL
    example = torch.zeros(1, 3, size, size)
    rates = {site.name: 0.5 for site in ip.Graph.trace(dense, example).sites}
    plan = ip.plan(dense, example, tp.importance.GroupMagnitudeImportance(p=1), rates=rates)
    pruned = ip.prune_(copy.deepcopy(dense), example, plan, certify=False)
    loader = list(torch.randn(count, 3, size, size).split(BATCH))
    plain = spent(lambda: forward(dense, loader))
    told = spent(lambda: ip.compensate_(pruned, dense, loader, samples=count, progress=False))
    found = {"forward_cpu_s": plain[0], "forward_mib": plain[1], "cpu_s_of_it": told[0], "mib": told[1]}
    return found | {"times_forward": round(told[0] / plain[0], 2)}


@torch.no_grad()
def forward(model: nn.Module, loader: list[Tensor]) -> None:
    for x in loader:
        model(x)


def spent(work: Callable[[], Any]) -> tuple[float, float]:
    """CPU seconds, and MiB at the peak over what was resident before."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, begun = resident_mib("VmRSS"), time.process_time()
    work()
    return round(time.process_time() - begun, 2), round(resident_mib("VmHWM") - before, 1)


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """CPU seconds of compensation and of the forward passes over its pictures, against channels and pictures."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "infoprune"  # the same picture from the same rows
    from matplotlib import pyplot as plt

    grown = [row for row in rows if row.get("channels")]
    panels = (
        ("channels", [r for r in grown if r["pictures"] == 64]),
        ("pictures", [r for r in grown if r["channels"] == 32]),
    )
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
    for axis, (what, points) in zip(axes, panels, strict=True):
        points = sorted(points, key=lambda row: row[what])
        for field, name, colour in (
            ("cpu_s_of_it", "compensation", "#1f5fa8"), ("forward_cpu_s", "forward passes", "#9aa3af")
        ):  # fmt: skip
            axis.loglog(
                [r[what] for r in points], [r[field] for r in points], marker="o", ms=4, color=colour, label=name
            )
        axis.set_xticks([r[what] for r in points], [str(r[what]) for r in points], minor=False)
        axis.minorticks_off()
        axis.set_xlabel("channels of the first stage, 64 pictures" if what == "channels" else "pictures, 32 channels")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("CPU seconds")
    axes[0].legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
