"""What knowing each feature's information costs: against a loop over features, and on top of the forward passes.

    OMP_NUM_THREADS=1 PYTHONPATH=src python benchmarks/split_speed.py [--images 3000] [--view axes]

The paper's network at 256 x 512 gives 256 maps of 32 x 64, 32 patches of 8 x 8 each. A few images are run for real;
the others' features are theirs under random gains, drawn as they are needed, which is not timed. The loop runs two
features against three tasks with numpy and scikit-learn, and is scaled. Seconds are CPU seconds of one process.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from results_file import ResultsFile, arguments
from sklearn.metrics import mutual_info_score
from torch import Tensor

from infoprune.models import three_task
from infoprune.observe.patches import PrincipalAxes, WholePatches, corresponding, patches_of
from infoprune.observe.tasks import Seen, _Counting, _Taps

AT, REAL, LOOPED = "backbone.layers.36", 8, 2


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def varied(seen: Seen, generator: torch.Generator) -> Seen:
    """Other images: the same features and outputs under gains of their own."""

    def gained(values: Tensor) -> Tensor:
        return values * (0.5 + torch.rand(*values.shape[:2], 1, 1, generator=generator))

    return Seen(
        seen.images, {AT: gained(seen.features[AT])}, {task: gained(each) for task, each in seen.outputs.items()}
    )


def loop(x: np.ndarray, tasks: np.ndarray, bins: int) -> None:
    """Each feature by itself, as one would write it."""
    for feature in x:
        codes = np.clip((feature - feature.min()) / (np.ptp(feature) or 1) * bins, 0, bins - 1).astype(np.uint8)
        pattern = np.unique(codes, axis=0, return_inverse=True)[1].ravel()
        for labels in tasks:
            mutual_info_score(pattern, labels)


@torch.no_grad()
def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument(
        "--view", choices=["axes", "whole"], default="axes", help="two principal axes, or whole patches"
    )
    options = parser.parse_args()
    if options.smoke:
        options.images = 16
    torch.set_num_threads(1)
    torch.manual_seed(0)
    view = WholePatches(8) if options.view == "whole" else PrincipalAxes(8)
    model = three_task().eval()
    pictures = torch.rand(REAL, 3, 256, 512)
    with _Taps(model, [AT], None) as taps:
        model(pictures[:1])
        forward, _ = seconds(lambda: [model(picture[None]) for picture in pictures[:4]])
        seen = Seen(REAL, {}, {})
        taps.now = {}
        outputs = model(pictures)
        seen = Seen(REAL, dict(taps.now), outputs)
    forward *= options.images / 4

    generator = torch.Generator().manual_seed(0)
    pilot = [varied(seen, generator) for _ in range(64 // REAL)]
    spent, counting = seconds(lambda: _Counting.fitted(pilot, taps, view, 8, 0))
    patches, labels = [], []
    for _ in range(options.images // REAL):
        batch = varied(seen, generator)
        once, counting = seconds(partial(counting.update, batch, taps))
        spent += once
        some, grid = patches_of(batch.features[AT][:, :LOOPED], model.get_submodule(AT), 8)
        patches.append(counting.layers[AT].view.numbers(some) if options.view == "whole" else some)
        labels.append(torch.stack([corresponding(batch.outputs[t], grid).sum(1) for t in counting.tasks]))
    last, found = seconds(counting.compute)
    spent += last
    x = torch.cat(patches, 1)
    if options.view == "axes":
        first_view = counting.layers[AT].view
        axes, low, high = (part[:LOOPED] for part in first_view.axes)
        x = ((x @ axes.to(x)).double() - low) / (high - low)
    y = torch.cat(labels, 1)
    classes = torch.stack([torch.bucketize(each, each.quantile(torch.linspace(0, 1, 9)[1:-1])) for each in y])
    slow, _ = seconds(lambda: loop(x.numpy(), classes.numpy(), view.bins))
    slow *= 256 / LOOPED
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    told = {
        "view": options.view, "features": 256, "tasks": 3, "patches": found.patches[AT], "images": found.samples,
        "loop_s": slow, "streamed_s": spent, "forward_s": forward,
        "times": slow / spent, "added": spent / forward, "peak_gib": peak,
        "counts": len(counting.layers[AT].counts._settled().table.key),
        "saturated": found.layer().information.saturated.double().mean().item(),
    }  # fmt: skip
    ResultsFile.of(options, "split_speed", key=("view", "images")).append(told)


if __name__ == "__main__":
    main()
