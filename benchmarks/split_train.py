"""Trains the three-task network on rendered streets, one checkpoint a seed; what the other split benchmarks need.

    python benchmarks/split_train.py --runs runs [--seeds 0 1 2] [--epochs 12]

Renders 1,500 scenes once (kept in the folder `--runs`), then trains in bfloat16. Each checkpoint is a safetensors file
in the same folder; seeds that have one are skipped. A row says what a network scores on scenes it was not trained on.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from results_file import ResultsFile, arguments, cpu_seconds
from safetensors.torch import save_file
from torch import Tensor, nn

from infoprune.data.scenes import CLASSES, SceneSet
from infoprune.models.three_task import small_three_task
from infoprune.split.metrics import PSNR, RMSE, MeanIoU

SCENES, HELD_OUT, BATCH = 1500, 200, 16
SMALL = 32, 8  # scenes and held-out scenes of a small run
WEIGHTS = torch.tensor([1, 1, 1, 1, 1, 2, 2, 1.5])  # of the classes: persons and poles are small
METRICS = {"segmentation": MeanIoU(classes=len(CLASSES)), "disparity": RMSE(), "reconstruction": PSNR()}


def rendered(path: Path, count: int, *, train: bool, seed: int) -> SceneSet:
    """The scenes, rendered now or read from an earlier run."""
    if not path.exists():
        torch.save(SceneSet(count, train=train, seed=seed), path)
    return torch.load(path, weights_only=False)


def loss_of(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    segmentation = F.cross_entropy(outputs["segmentation"].float(), targets["segmentation"], WEIGHTS)
    disparity = F.smooth_l1_loss(outputs["disparity"].float(), targets["disparity"])
    reconstruction = F.l1_loss(outputs["reconstruction"].float(), targets["reconstruction"])
    return segmentation + 0.5 * disparity + 3 * reconstruction


def mirrored(image: Tensor, targets: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    return image.flip(-1), {task: target.flip(-1) for task, target in targets.items()}


def train(model: nn.Module, scenes: SceneSet, held_out: SceneSet, epochs: int, seed: int) -> dict[str, float]:
    """AdamW with one cycle of the learning rate; the scores at its end."""
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * (len(scenes) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    for epoch in range(1, epochs + 1):
        model.train()
        for chosen in torch.randperm(len(scenes), generator=generator).split(BATCH)[: len(scenes) // BATCH]:
            image, targets = scenes[chosen]
            if torch.rand((), generator=generator) < 0.5:
                image, targets = mirrored(image, targets)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                outputs = model(image.contiguous(memory_format=torch.channels_last))
            optimizer.zero_grad(set_to_none=True)
            loss_of(outputs, targets).backward()
            optimizer.step()
            schedule.step()
        if epoch % 4 == 0 or epoch == epochs:
            found = scores(model, held_out)
            print({"seed": seed, "epoch": epoch, "cpu_s": round(cpu_seconds()), **found}, flush=True)
    return found


@torch.no_grad()
def scores(model: nn.Module, scenes: SceneSet) -> dict[str, float]:
    """The score of each task on scenes and photographs that were not trained on."""
    model.eval()
    totals: dict[str, Tensor] = {}
    for chosen in torch.arange(len(scenes)).split(25):
        image, targets = scenes[chosen]
        outputs = model(image)
        for name, metric in METRICS.items():
            added = metric.statistics(outputs[name], targets[name]).sum(0)
            totals[name] = totals.get(name, 0) + added
    return {name: round(metric.score(totals[name]).item(), 4) for name, metric in METRICS.items()}


def filled(runs: Path, results: ResultsFile, seeds: list[int], epochs: int, scenes: int, held_out: int) -> None:
    """The folder gets the scenes and the checkpoints that it lacks."""
    runs.mkdir(parents=True, exist_ok=True)
    learn = rendered(runs / "train.pt", scenes, train=True, seed=0)
    judge = rendered(runs / "held_out.pt", held_out, train=False, seed=7)
    for seed in seeds:
        checkpoint = runs / f"three_task_{seed}.safetensors"
        if checkpoint.exists():
            continue
        torch.manual_seed(seed)
        model = small_three_task(len(CLASSES)).to(memory_format=torch.channels_last)
        found = train(model, learn, judge, epochs, seed)
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, checkpoint)
        results.append({"seed": seed, "epochs": epochs, "miou": found.pop("segmentation"), **found})


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=Path, help="folder for scenes and checkpoints")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = ResultsFile.of(options, "split_train", ("seed", "epochs"))
    if options.smoke:
        filled(Path(tempfile.mkdtemp(prefix="smoke-")), results, [0], 1, *SMALL)
    elif options.runs:
        filled(options.runs, results, options.seeds, options.epochs, SCENES, HELD_OUT)
    else:
        parser.error("give --runs, the folder for scenes and checkpoints, or --smoke")


if __name__ == "__main__":
    main()
