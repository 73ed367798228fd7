"""How much faster the estimators are than the loops they replace; every ratio is taken within one process.

    OMP_NUM_THREADS=1 python benchmarks/estimator_speed.py [--full]

The loops run first on a part of the work where all of it would take too long; how much is told.
`--full` runs mutual information on 256 features x 3 tasks x 96,000 patches of 64 numbers (about a minute).
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from itertools import combinations
from typing import Any

import dcor
import numpy as np
import torch
from results_file import ResultsFile, arguments
from sklearn.metrics import mutual_info_score
from torch import Tensor

from infoprune.estimators import energy, hsic
from infoprune.estimators import mutual_information as mi


def seconds(call: Callable[[], Any], repeat: int = 3) -> tuple[float, Any]:
    """The least CPU time of `repeat` calls, and what the last returned."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        result = call()
        times.append(time.process_time() - start)
    return min(times), result


def row(what: str, slow: float, fast: float, difference: float | None, note: str) -> dict[str, Any]:
    """Seconds of the loop and of ours, and by how much their values differ at most."""
    return {"what": what, "times": slow / fast, "loop_s": slow, "ours_s": fast, "difference": difference, "note": note}


# --- energy dependence ---


def dcor_loop(features: np.ndarray, labels: np.ndarray) -> float:
    groups = [features[labels == c] for c in np.unique(labels)]
    return max(float(dcor.energy_distance(x, y)) for x, y in combinations(groups, 2))


def energy_dependence(width: int, samples: int = 2048) -> dict:
    labels = torch.randint(100, (samples,))
    features = torch.randn(samples, width, dtype=torch.float64) + 0.01 * labels.unsqueeze(1)
    slow, expected = seconds(lambda: dcor_loop(features.numpy(), labels.numpy()), 1)
    fast, value = seconds(lambda: energy.dependence_estimate(features, labels).value)
    note = f"{samples:,} samples, 100 classes, 4,950 pairs, float64; ours includes the standard error"
    return row(f"energy dependence, {width} features", slow, fast, abs(expected - float(value)), note)


# --- nHSIC between all pairs of layers ---


def cka(x: Tensor, y: Tensor) -> Tensor:
    """As in common code: centre, both Gram matrices, three products; again for every pair."""
    x, y = x - x.mean(0), y - y.mean(0)
    k, m = x @ x.T, y @ y.T
    return (k * m).sum() / ((k * k).sum().sqrt() * (m * m).sum().sqrt())


def pairwise_nhsic(layers: int, samples: int, width: int) -> dict:
    maps = [torch.randn(samples, width) for _ in range(layers)]
    slow, expected = seconds(lambda: torch.tensor([[cka(x, y) for y in maps] for x in maps]), 1)
    fast, value = seconds(lambda: hsic.pairwise_nhsic(torch.stack([hsic.linear_gram(x) for x in maps])))
    difference = (expected - value).abs().max().item()
    note = f"{layers} layers, {samples} samples, maps of {width:,} numbers, from the maps to the matrix"
    return row("nHSIC between layers", slow, fast, difference, note)


# --- binned mutual information ---


def mi_loop(features: np.ndarray, tasks: np.ndarray, bins: int) -> np.ndarray:
    values = []
    for x in features:
        codes = np.clip(np.floor((x - x.min()) / (x.max() - x.min()) * bins), 0, bins - 1).astype(np.uint8)
        pattern = np.unique(codes, axis=0, return_inverse=True)[1].ravel()
        values.append([mutual_info_score(pattern, labels) for labels in tasks])
    return np.array(values)


def stream(counts: mi.JointCounts, x: Tensor, y: Tensor) -> mi.MutualInformation:
    """All features against all tasks, a thousand samples at a time."""
    for some, labels in zip(x.split(1000, 1), y.split(1000, 1), strict=True):
        counts = counts.update(some, labels)
    return counts.compute()


def mutual_information(features: int, samples: int, looped: int, width: int, levels: int) -> dict:
    x = torch.randint(levels, (features, samples, width)) / (levels - 1)
    y = torch.randint(8, (3, samples))
    empty = mi.JointCounts.empty(torch.zeros(features), torch.ones(features), clusters=(8, 8, 8))
    slow, expected = seconds(lambda: mi_loop(x[:looped].numpy(), y.numpy(), 30), 1)
    fast, result = seconds(lambda: stream(empty, x, y))
    difference = np.abs(expected - result.value[:looped].numpy()).max()
    note = (
        f"{features} features x 3 tasks x {samples:,} patches of {width}; the loop ran {looped} features, "
        f"scaled by {features / looped:g}; ours streams, with null and errors"
    )
    what = f"mutual information, patches of {width}"
    return row(what, slow * features / looped, fast, float(difference), note)


def full_mutual_information() -> dict:
    """The size a split network makes; batches are drawn as they are needed, and drawing them is not timed."""
    loop_input, loop_tasks = torch.rand(2, 96_000, 64).numpy(), torch.randint(8, (3, 96_000)).numpy()
    before, _ = seconds(lambda: mi_loop(loop_input, loop_tasks, 30), 1)
    counts = mi.JointCounts.empty(torch.zeros(256), torch.ones(256), clusters=(8, 8, 8))
    fast = 0.0
    for _ in range(96):
        x, y = torch.rand(256, 1000, 64), torch.randint(8, (3, 1000))
        start = time.process_time()
        counts = counts.update(x, y)
        fast += time.process_time() - start
    last, result = seconds(counts.compute, 1)
    after, _ = seconds(lambda: mi_loop(loop_input, loop_tasks, 30), 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    note = (
        f"256 features x 3 tasks x 96,000 patches of 64; the loop ran 2 features twice, times 128; "
        f"saturated: {result.saturated.float().mean():.0%}; peak memory of the process {peak:.1f} GiB"
    )
    slow = 128 * min(before, after)
    return row("mutual information, full", slow, fast + last, None, note)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    results = ResultsFile.of(options, "estimator_speed", key=("what",))
    if options.smoke:
        results.append(energy_dependence(width=64, samples=512))
        results.append(pairwise_nhsic(layers=10, samples=32, width=1024))
        return
    results.append(energy_dependence(width=64))
    results.append(energy_dependence(width=1024))
    results.append(pairwise_nhsic(layers=54, samples=64, width=16_384))
    results.append(mutual_information(features=256, samples=4096, looped=8, width=64, levels=1000))
    results.append(mutual_information(features=256, samples=8192, looped=8, width=2, levels=10))
    if options.full:
        results.append(full_mutual_information())


if __name__ == "__main__":
    main()
