"""What unit_energies costs, for the 54 units of a ResNet-110, 2,048 samples and 100 classes.

    OMP_NUM_THREADS=1 python benchmarks/depth_energy_cost.py [--samples 2048] [--width 512] [--looped 2]

Two ratios from one run, in seconds of processor time: the whole of `unit_energies` (with finding the units) over plain
forward passes of the same batches, which are run before and after it; and a loop of `dcor.energy_distance` over all
pairs of classes over our estimate with its standard error, on the very same features. `--looped` units evenly spread
over the network are looped over, and compared with ours on the same units; values must agree.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import dcor
import numpy as np
import torch
from depth_task import ResNet
from results_file import ResultsFile, arguments

import infoprune as ip
from infoprune.depth.energies import branch_samples
from infoprune.estimators.energy import FeatureSample


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--looped", type=int, default=2, help="units to loop dcor over")
    options = parser.parse_args()
    if options.smoke:
        options.samples, options.width, options.looped = 256, 64, 1
    torch.set_num_threads(1)
    torch.manual_seed(0)
    depth = 20 if options.smoke else 110
    model, x = ResNet(depth, 16, classes=100).eval(), torch.zeros(1, 3, 32, 32)
    data = [(torch.randn(128, 3, 32, 32), torch.randint(100, (128,))) for _ in range(options.samples // 128)]
    settings = {"samples": options.samples, "width": options.width}
    units = len(ip.skip_units(model, x))
    results = ResultsFile.of(options, "depth_energy_cost", key=("what",))
    about = {"units": units, "depth": depth, "classes": 100, **settings}
    results.append({"what": "beside forward passes", **about, **beside_forward_passes(model, x, data, settings)})
    samples = list(branch_samples(model, data, x, **settings).values())
    results.append({"what": "beside dcor", **about, "looped": options.looped, **beside_dcor(samples, options.looped)})


def beside_forward_passes(model: torch.nn.Module, x: torch.Tensor, data: list, settings: dict) -> dict:
    plain, forward = copy.deepcopy(model), []

    def batches() -> Iterator[tuple]:
        """Each batch goes through a model of its own first, so that both are timed at the same moment."""
        for inputs, labels in data:
            forward.append(seconds(lambda: run(plain, inputs))[0])  # noqa: B023 - used at once
            yield inputs, labels

    run(plain, data[0][0])
    both, _ = seconds(lambda: ip.unit_energies(model, batches(), x, **settings))
    whole = both - sum(forward)
    return {"forward_s": sum(forward), "unit_energies_s": whole, "added": whole / sum(forward) - 1}


def beside_dcor(found: list[FeatureSample], looped: int) -> dict:
    chosen = [found[i] for i in np.linspace(0, len(found) - 1, looped).round().astype(int)]
    all_of_them, _ = seconds(lambda: [sample.compute() for sample in found])
    fast, ours = seconds(lambda: [float(sample.compute().value) for sample in chosen])
    slow, theirs = seconds(lambda: [largest_by_dcor(sample) for sample in chosen])
    apart = np.max(np.abs(np.array(ours) / np.array(theirs) - 1))
    told = {"all_units_s": all_of_them, "ours_s": fast, "dcor_s": slow, "times": slow / fast}
    return {**told, "relative_difference": float(apart)}


def largest_by_dcor(sample: FeatureSample) -> float:
    features, labels = sample.features.double().numpy(), sample.labels.numpy()
    groups = [features[labels == c] for c in np.unique(labels)]
    return max(float(dcor.energy_distance(x, y)) for x, y in combinations(groups, 2))


@torch.no_grad()
def run(model: torch.nn.Module, inputs: torch.Tensor) -> None:
    model(inputs)


def seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of one call, and what it gave."""
    begun = time.process_time()
    found = function()
    return time.process_time() - begun, found


if __name__ == "__main__":
    main()
