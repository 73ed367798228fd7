"""Digits on photographs as a contest: dense networks trained once, pruned ones tuned on the same pictures.

    python benchmarks/task_digits.py [--nets resnet20 vgg16 ...]        # trains the dense networks and says how good

The other programs call `dense` and `Contest` from here. A seed is a draw of calibration and tuning pictures; what is
tested never changes. Networks are trained in single precision, one thread; dense ones
in contiguous layout, as narrow layers can crash in channels last.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from depth_task import ResNet
from results_file import FOLDER, ResultsFile, arguments
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import infoprune as ip
from infoprune.data.digits_on_photos import Digits
from infoprune.finetune.loss import softened_divergence
from infoprune.finetune.norms import reestimate_
from infoprune.models import densenet40_cifar, resnet20_cifar, resnet56_cifar, vgg16_bn_cifar

BATCH = 128
WORK = FOLDER / "digits_work"
EXAMPLE = torch.zeros(1, 3, 32, 32)


@dataclass(frozen=True)
class Net:
    """How a dense network is built, on how many pictures it is trained and at which largest learning rate.

    A deep one that stays at chance when it begins at random can begin as a shallow one of these, trained before.
    """

    build: Callable[[], nn.Module]
    images: int
    rate: float
    grown_from: str | None = None


NETS = {
    "resnet20": Net(resnet20_cifar, 96_000, 0.2),
    "resnet56": Net(lambda: ResNet(56), 64_000, 0.2),  # projections where the shape changes, as in the depth benchmarks
    "resnet56_grown": Net(resnet56_cifar, 32_000, 0.05, grown_from="resnet20"),
    "vgg16": Net(lambda: vgg16_bn_cifar(width=0.5), 64_000, 0.1),
    "densenet40": Net(densenet40_cifar, 64_000, 0.1),
    "tiny": Net(lambda: vgg16_bn_cifar(width=0.125), 256, 0.1),
}


def main() -> None:
    parser = arguments(__doc__)
    add_contest(parser)
    options = contest_options(parser)
    results = ResultsFile.of(options, "dense_digits", ("net", "images"))
    test = Contest(0).test
    for name in options.nets:
        if not results.has(net=name, images=NETS[name].images):
            model = dense(name, options.work)
            cost = ip.measure(model, EXAMPLE)
            results.append(
                {
                    "net": name,
                    "images": NETS[name].images,
                    "accuracy": accuracy(model, *test),
                    "macs": cost.macs,
                    "params": cost.params,
                }
            )


def add_contest(parser: argparse.ArgumentParser) -> None:
    """The options that all contests on this task share."""
    parser.add_argument("--nets", nargs="+", default=["resnet20", "vgg16", "resnet56"], choices=NETS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--images", type=int, default=12_800, help="to tune on")
    parser.add_argument("--work", type=Path, default=WORK, help="where trained networks are kept")


def contest_options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The parsed options; a smoke run competes with one tiny network at the first budget."""
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.smoke:
        options.nets, options.seeds, options.images = ["tiny"], [0], 256
        options.work = Path(tempfile.mkdtemp(prefix="smoke-"))
        if "keeps" in options:
            options.keeps = options.keeps[:1]
    return options


@cache
def dense(name: str, work: Path) -> nn.Module:
    """The trained network of that name, from its file if there is one; not to be changed."""
    net, file = NETS[name], work / f"{name}_{NETS[name].images}.safetensors"
    torch.manual_seed(0)
    model = net.build()
    if file.exists():
        model.load_state_dict(load_file(file))
    else:
        if net.grown_from:
            grow_(model, dense(net.grown_from, work))
        digits = Digits(train=True, seed=100)
        batches = (digits.sample(BATCH) for _ in range(net.images // BATCH))
        train(model, batches, net.images // BATCH, rate=net.rate, layout=torch.contiguous_format)
        work.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, file)
    return model.to(memory_format=torch.contiguous_format).eval()


@torch.no_grad()
def grow_(deep: nn.Module, shallow: nn.Module) -> None:
    """The deep network answers like the shallow one: its blocks in their order, with empty ones between."""
    stages = [name for name, part in shallow.named_children() if isinstance(part, nn.Sequential)]
    for name, part in shallow.named_children():
        if name not in stages:
            deep.get_submodule(name).load_state_dict(part.state_dict())
    for name in stages:
        known = list(shallow.get_submodule(name).children())
        blocks = list(deep.get_submodule(name).children())
        for place, block in enumerate(blocks):
            if place % (len(blocks) // len(known)):
                nn.init.zeros_(cast(nn.BatchNorm2d, block.bn2).weight)
            else:
                block.load_state_dict(known[place * len(known) // len(blocks)].state_dict())


def train(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    steps: int,
    *,
    rate: float,
    teacher: Callable[[Tensor], Tensor] | None = None,
    layout: torch.memory_format = torch.channels_last,
) -> None:
    """SGD with Nesterov momentum through one cycle of the learning rate, on labels and half on a teacher's answers."""
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1, pct_start=0.15)
    model.train().to(memory_format=layout)
    for x, y in batches:
        x = x.contiguous(memory_format=layout)
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        if teacher is not None:
            with torch.no_grad():
                answers = teacher(x)
            loss = 0.5 * loss + 0.5 * softened_divergence(logits, answers, 2.0)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """The share of pictures whose largest logit is the label's."""
    model.eval().to(memory_format=torch.channels_last)
    pairs = zip(x.split(500), y.split(500), strict=True)
    hits = sum(int((model(a.contiguous(memory_format=torch.channels_last)).argmax(1) == b).sum()) for a, b in pairs)
    return hits / len(y)


@dataclass(frozen=True)
class Contest:
    """What all competitors of one seed share: calibration and tuning pictures, and the test."""

    seed: int
    images: int = 12_800
    rate: float = 0.05
    pictures: int = 4_000
    example: ClassVar[Tensor] = EXAMPLE
    measuring: ClassVar[dict[str, Any]] = {"samples": 256}  # how information curves are measured

    @cached_property
    def tuning(self) -> list[tuple[Tensor, Tensor]]:
        digits = Digits(train=True, seed=1000 + self.seed)
        return [digits.sample(BATCH) for _ in range(self.images // BATCH)]

    @cached_property
    def calibration(self) -> list[tuple[Tensor, Tensor]]:
        digits = Digits(train=True, seed=5000 + self.seed)
        return [digits.sample(BATCH) for _ in range(4)]

    @cached_property
    def test(self) -> tuple[Tensor, Tensor]:
        return Digits(train=False, crops=4000, seed=9).sample(self.pictures)

    def run(self, model: nn.Module, teacher: nn.Module | None = None) -> dict[str, float]:
        """Accuracy with batch norms estimated anew, then after tuning; the model is trained in place."""
        begun = time.process_time()
        reestimate_(model, [x for x, _ in self.calibration])
        before = accuracy(model, *self.test)
        torch.manual_seed(self.seed)
        train(model, self.tuning, len(self.tuning), rate=self.rate, teacher=teacher)
        after = accuracy(model, *self.test)
        return {"before": before, "after": after, "tuning_cpu_s": round(time.process_time() - begun, 1)}


if __name__ == "__main__":
    main()
