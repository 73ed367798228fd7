"""Which features does which task need? Hard and soft selection on trained scenes networks, with bytes really coded.

    python benchmarks/split_scenes.py run --runs runs
    python benchmarks/split_scenes.py table [--plots docs/images]

`run` needs the folder of split_train.py and writes a row a configuration (those on file are skipped):
rankings by information (plug-in, and the excess over permuted labels along principal axes; a ranking for each task),
by l1, l2, geometric median and at random; hard selection of 100 to 50 % of the features, soft selection with 75 and
50 % as base and the others HEVC-coded at QP 10 to 40. Scores come with 100 resamplings of the images, the same
for every configuration, so that differences can be judged image by image.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import split_train
import torch
from results_file import ResultsFile, arguments
from safetensors.torch import load_file
from split_tables import BASE, HARD, QPS, write
from split_train import METRICS
from torch import Tensor
from tqdm import tqdm

import infoprune as ip
from infoprune.data.scenes import CLASSES, SceneSet
from infoprune.models import small_three_task
from infoprune.recipe.judging import three_maps
from infoprune.split import evaluation as ev
from infoprune.wire import HEVC, Selection

AT, PATCH = "backbone.neck", 2  # a quarter of the maps' height, as the paper's 8 of 32
KEY = ("kind", "view", "patch", "seed", "ranking", "mode", "share", "qp")
VIEWS = {"plug-in": ip.split.WholePatches(PATCH), "corrected": ip.split.PrincipalAxes(PATCH)}
ESTIMATES = {"plug-in": "value", "corrected": "excess"}
BLIND = {"l1": ip.split.l1, "l2": ip.split.l2, "gm": ip.split.geometric_median}
DRAWS, PATCHES = 100, (1, 2, 4, 8)


def observed(model: torch.nn.Module, images: Tensor, view: object) -> ip.split.TaskObservations:
    """One pass over the calibration images."""
    batches = images.split(32)
    return ip.split.observe_tasks(model, batches, layers=[AT], view=view, outputs=three_maps, progress=False)


def saturation(model: torch.nn.Module, images: Tensor, sizes: Sequence[int]) -> Iterator[dict]:
    """How much of the labels' entropy permuted labels still score, by patch size and estimate."""
    for size in sizes:
        for name, view in (("plug-in", ip.split.WholePatches(size)), ("corrected", ip.split.PrincipalAxes(size))):
            seen = observed(model, images, view)
            found = seen.layer().information
            yield {
                "kind": "saturation",
                "view": name,
                "patch": size,
                "images": seen.samples,
                "patches": seen.patches[AT],
                "null_over_entropy": round((found.null / found.label_entropy).mean().item(), 4),
                "value_spread": round(found.value.std(0).mean().item(), 5),
                "excess_spread": round(found.excess.std(0).mean().item(), 5),
                "error": round(found.standard_error.mean().item(), 5),
                "saturated": round(found.saturated.double().mean().item(), 3),
            }


def orders(seen: dict[str, ip.split.TaskObservations], seed: int) -> dict[str, Tensor]:
    """Rankings by name; those by information are one for each task, "plug-in/disparity"."""
    pairs = [(name, task) for name in VIEWS for task in METRICS]
    found = {f"{name}/{task}": ip.split.rank(seen[name], task, estimate=ESTIMATES[name]) for name, task in pairs}
    found |= {name: ip.split.rank(seen["corrected"], by=score) for name, score in BLIND.items()}
    return found | {"random": ip.split.random_order(seen["corrected"].layer().channels, seed=seed)}


def configurations(order: dict[str, Tensor]) -> Iterator[tuple[dict, Selection | None]]:
    """Everything to be measured, with its name."""
    everything = ev.hard_selection(next(iter(order.values())), 1.0)
    yield {"ranking": "all", "mode": "float", "share": 1.0, "qp": None}, None
    yield {"ranking": "all", "mode": "hard", "share": 1.0, "qp": None}, everything
    yield {"ranking": "all", "mode": "soft", "share": 1.0, "qp": None}, everything  # on the images of soft selection
    for share in reversed(HARD):
        for name, each in order.items():
            yield {"ranking": name, "mode": "hard", "share": share, "qp": None}, ev.hard_selection(each, share)
    for share in BASE:
        for qp in QPS:
            for name, each in order.items():
                about = {"ranking": name, "mode": "soft", "share": share, "qp": qp}
                yield about, ev.soft_selection(each, share, HEVC(qp))


@torch.no_grad()
def run_seed(seed: int, runs: Path, results: ResultsFile, images: int, calibration: int, smoke: bool) -> None:
    model = small_three_task(len(CLASSES))
    model.load_state_dict(load_file(runs / f"three_task_{seed}.safetensors"))
    model.eval()
    train: SceneSet = torch.load(runs / "train.pt", weights_only=False)
    held_out: SceneSet = torch.load(runs / "held_out.pt", weights_only=False)
    calibrating = train[torch.arange(calibration)][0]
    sizes = [s for s in PATCHES if not results.has(kind="saturation", view="corrected", patch=s)] if seed == 0 else []
    for row in saturation(model, calibrating, sizes[: 1 if smoke else None]):
        append(results, row)
    order = orders({name: observed(model, calibrating, view) for name, view in VIEWS.items()}, seed)
    pictures = held_out[torch.arange(images)][0]
    split = ip.split.SplitModel(model, at=AT)
    features = [split.edge(batch) for batch in pictures.split(32)]
    wanted = [held_out[chosen][1] for chosen in torch.arange(images).split(32)]
    left = [each for each in configurations(order) if not results.has(kind="selection", seed=seed, **each[0])]
    left = [*left[:4], left[-1]] if smoke else left
    for about, selection in tqdm(left, desc=f"seed {seed}", disable=None):
        batches = slice(1) if about["mode"] == "soft" else slice(None)
        found = ev.evaluate(split, features[batches], wanted[batches], METRICS, selection)
        row = {"kind": "selection", "seed": seed, **about, "images": len(found.bytes_per_image)}
        append(results, row | summary(found))


def append(results: ResultsFile, row: dict) -> None:
    """What a row of its kind has no word on is none."""
    results.append({**dict.fromkeys(KEY), **row})


def summary(found: ev.Evaluation) -> dict:
    scores = {task: round(found.score(task, metric), 5) for task, metric in METRICS.items()}
    drawn = {
        task: [round(v, 5) for v in found.resampled(task, metric, draws=DRAWS).tolist()]
        for task, metric in METRICS.items()
    }
    return {"bytes": round(found.bytes_per_image.mean().item(), 1), "scores": scores, "resampled": drawn}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("command", nargs="?", default="run", choices=["run", "table"])
    parser.add_argument("--runs", type=Path, help="folder of split_train.py")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=64, help="held-out scenes scored; 32 of them in soft selection")
    parser.add_argument("--calibration", type=int, default=300, help="training scenes that rankings are made from")
    parser.add_argument("--plots", type=Path, help="folder for pictures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = ResultsFile.of(options, "split_scenes", KEY)
    if options.command == "table":
        write(results.rows(), options.plots)
        return
    if options.smoke:
        options.runs, options.seeds = Path(tempfile.mkdtemp(prefix="smoke-")), [0]
        options.calibration, options.images = split_train.SMALL
        training = ResultsFile(options.runs / "split_train.jsonl", ("seed", "epochs"))
        split_train.filled(options.runs, training, options.seeds, 1, *split_train.SMALL)
    elif options.runs is None:
        parser.error("give --runs, the folder that split_train.py filled, or --smoke")
    for seed in options.seeds:
        run_seed(seed, options.runs, results, options.images, options.calibration, options.smoke)


if __name__ == "__main__":
    main()
