"""Trains the three-task network on rendered streets, one checkpoint a seed; what the other split benchmarks need.

    OMP_NUM_THREADS=1 PYTHONPATH=src python benchmarks/split_train.py --out runs/scenes [--seeds 0 1 2] [--epochs 12]

Renders 1,500 scenes once (kept in the same folder), then trains in bfloat16; finished seeds are skipped. Each
checkpoint is a safetensors file; `training.jsonl` gets a line an evaluation.
"""

from __future__ import annotations

import argparse
import json
import resource
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from infoprune.data.scenes import CLASSES, SceneSet
from infoprune.models.three_task import small_three_task
from infoprune.split.metrics import PSNR, RMSE, MeanIoU

SCENES, HELD_OUT, BATCH = 1500, 200, 16
WEIGHTS = torch.tensor([1, 1, 1, 1, 1, 2, 2, 1.5])  # of the classes: persons and poles are small
METRICS = {"segmentation": MeanIoU(classes=len(CLASSES)), "disparity": RMSE(), "reconstruction": PSNR()}


def cpu_seconds() -> float:
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2])


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


def train(model: nn.Module, scenes: SceneSet, held_out: SceneSet, epochs: int, seed: int, log: Path) -> None:
    """AdamW with one cycle of the learning rate."""
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * (len(scenes) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    start = cpu_seconds()
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
            line = {"seed": seed, "epoch": epoch, "cpu_s": round(cpu_seconds() - start)} | scores(model, held_out)
            with log.open("a") as file:
                print(json.dumps(line), file=file)
            print(line, flush=True)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for scenes, checkpoints and the log")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=12)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    scenes = rendered(arguments.out / "train.pt", SCENES, train=True, seed=0)
    held_out = rendered(arguments.out / "held_out.pt", HELD_OUT, train=False, seed=7)
    print(f"{len(scenes)} + {len(held_out)} scenes after {cpu_seconds():.0f} CPU s", flush=True)
    for seed in arguments.seeds:
        checkpoint = arguments.out / f"three_task_{seed}.safetensors"
        if checkpoint.exists():
            continue
        torch.manual_seed(seed)
        model = small_three_task(len(CLASSES)).to(memory_format=torch.channels_last)
        train(model, scenes, held_out, arguments.epochs, seed, arguments.out / "training.jsonl")
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, checkpoint)


if __name__ == "__main__":
    main()
