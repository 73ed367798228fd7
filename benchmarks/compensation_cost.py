"""CPU time and memory of compensation, beside plain forward passes of the dense network over the same pictures.

    python benchmarks/compensation_cost.py [--nets mobilenetv2 resnet50 ...] [--counts 32 64 128 256]

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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
import torch_pruning as tp
from memory import resident_mib
from results_file import ResultsFile, arguments
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


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--nets", nargs="+", default=["mobilenetv2", "resnet50", "vit_b"], choices=NETS)
    parser.add_argument("--counts", nargs="+", type=int, default=[32, 64, 128, 256], help="pictures")
    parser.add_argument("--alone", action="store_true", help="measure one row here and print it (for the children)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.smoke:
        options.nets, options.counts = ["resnet18"], [8]
    if options.alone:
        print(json.dumps(alone(options.nets[0], options.counts[0])))
        return
    results = ResultsFile.of(options, "compensation_cost", key=("net", "pictures"))
    for net in options.nets:
        for count in options.counts:
            if not results.has(net=net, pictures=count):
                results.append({"net": net, "pictures": count, **in_a_child(net, count)})


def in_a_child(net: str, count: int) -> dict[str, Any]:
    words = [sys.executable, "-W", "ignore", __file__, "--alone", "--nets", net, "--counts", str(count)]
    child = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(child.stdout.splitlines()[-1])


def alone(net: str, count: int) -> dict[str, Any]:
    """CPU seconds and MiB of the forward passes and of compensation, and how many times as long it takes."""
    torch.manual_seed(0)
    dense = timm.create_model(NETS[net], pretrained=False).eval()
    example = torch.zeros(1, 3, SIZE, SIZE)
    rates = {site.name: 0.5 for site in ip.Graph.trace(dense, example).sites}
    plan = ip.plan(dense, example, tp.importance.GroupMagnitudeImportance(p=1), rates=rates)
    pruned = ip.prune_(copy.deepcopy(dense), example, plan, certify=False)
    loader = list(torch.randn(count, 3, SIZE, SIZE).split(BATCH))
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


if __name__ == "__main__":
    main()
